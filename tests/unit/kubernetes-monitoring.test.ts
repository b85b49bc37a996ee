import { expect, test } from 'vitest';
import { renderClusterRules } from '../../scripts/cluster-rules.ts';
import { readCompose, readYaml } from '../support/compose-files.ts';
import { buildOverlay, type Resource } from '../support/kubernetes.ts';
import { podsOf, selects } from '../support/kubernetes-references.ts';
import { alerts } from '../support/monitoring.ts';
import { readText } from '../support/sources.ts';

const built = ['staging', 'extras'].map(buildOverlay);
const component = ({ metadata }: Resource): string => metadata.labels['app.kubernetes.io/component'];
const PROMETHEUS = 'deploy/monitoring/prometheus';

interface Relabel {
  source_labels: string[];
  regex?: string;
  action?: 'keep' | 'drop';
  target_label?: string;
  replacement?: string;
}
interface Scrape {
  job_name: string;
  relabel_configs?: Relabel[];
}
const scraped = (file: string) => readYaml(`${PROMETHEUS}/${file}.yml`).scrape_configs as Scrape[];

/** What Prometheus makes of the labels of a target, as far as the rules of kubernetes.yml go; nothing where it drops it. */
function relabelled(labels: Record<string, string>, rules: Relabel[]): Record<string, string> | undefined {
  const now = { ...labels };
  for (const { source_labels, regex = '(.*)', action, target_label, replacement = '$1' } of rules) {
    const text = source_labels.map((name) => now[name] ?? '').join(';');
    const found = new RegExp(`^(?:${regex})$`).exec(text);
    if ((action === 'keep' && !found) || (action === 'drop' && found)) return undefined;
    if (target_label && found) now[target_label] = replacement.replace('$1', found[1] ?? '');
  }
  return now;
}

/** The labels of each port of each pod, as Prometheus finds them. */
const found = (all: Resource[]) =>
  podsOf(all).flatMap(({ owner, pod, labels }) =>
    pod.containers.flatMap(({ ports = [] }: Resource) =>
      ports.map((port: Resource) => ({
        __meta_kubernetes_pod_label_app_kubernetes_io_component: labels['app.kubernetes.io/component'] ?? '',
        __meta_kubernetes_pod_container_port_name: port.name,
        __meta_kubernetes_pod_name: `${owner.metadata.name}:${port.containerPort}`,
        __meta_kubernetes_pod_phase: 'Running',
      })),
    ),
  ) as Array<Record<string, string>>;
const named = (targets: Array<Record<string, string> | undefined>) =>
  targets.flatMap((one) => (one ? [`${one.job} ${one.instance}`] : [])).sort();
const wanted = (all: Resource[]) => {
  const workers = podsOf(all).filter(({ owner }) => component(owner) === 'worker');
  const ports = workers.map(({ owner }) => `worker ${owner.metadata.name}:3001`);
  return ['api api:3001', 'kong gateway:8100', ...ports].sort();
};

test('in the cluster Prometheus finds API, workers and gateway, each at its port, under the names of the rules', () => {
  const rules = scraped('kubernetes').find(({ job_name }) => job_name === 'sutazai')?.relabel_configs ?? [];
  for (const all of built) expect(named(found(all).map((labels) => relabelled(labels, rules)))).toEqual(wanted(all));
  expect(relabelled({ __meta_kubernetes_pod_phase: 'Failed' }, rules.slice(1))).toBeUndefined();
});

test('the operator of Prometheus finds the same, and takes the same rules but those about monitoring itself', () => {
  const all = built[1] as Resource[];
  const { selector, podMetricsEndpoints } = all.find(({ kind }) => kind === 'PodMonitor').spec;
  const targets = found(all).flatMap((labels) => {
    const meant = {
      'app.kubernetes.io/component': labels.__meta_kubernetes_pod_label_app_kubernetes_io_component ?? '',
    };
    if (!selects(selector, meant)) return [];
    return podMetricsEndpoints
      .filter(({ port }: Resource) => port === labels.__meta_kubernetes_pod_container_port_name)
      .map(({ relabelings }: Resource) =>
        relabelled(
          labels,
          relabelings.map(({ sourceLabels = [], targetLabel, ...more }: Resource) => ({
            ...more,
            source_labels: sourceLabels,
            target_label: targetLabel,
          })),
        ),
      );
  });
  expect(named(targets)).toEqual(wanted(all));
  expect(readText('deploy/kubernetes/components/prometheus/rules.yaml')).toBe(renderClusterRules());
  const { groups } = all.find(({ kind }) => kind === 'PrometheusRule').spec;
  const taken = groups.flatMap(({ rules }: Resource) => rules).flatMap(({ alert }: Resource) => alert ?? []);
  const left = alerts().filter(({ alert }) => !taken.includes(alert));
  expect(taken.length).toBeGreaterThan(40);
  expect(left.map(({ alert }) => alert)).toContain('Watchdog');
  for (const { expr } of left) expect(expr).not.toContain('sutazai_');
});

test('every job that an alert asks for is one that is scraped, in Compose and in the cluster', () => {
  const asked = alerts().flatMap(({ expr }) =>
    [...expr.matchAll(/\bjob=~?"([\w|]+)"/g)].flatMap(([, jobs = '']) => jobs.split('|')),
  );
  const renamed = scraped('kubernetes').flatMap(({ relabel_configs = [] }) =>
    relabel_configs
      .filter(({ target_label }) => target_label === 'job')
      .flatMap(({ regex = '', replacement }) => replacement ?? regex.replace(/[()]/g, '').split('|')),
  );
  const inCluster = [...scraped('kubernetes').map(({ job_name }) => job_name), ...renamed];
  expect(new Set(asked).size).toBeGreaterThan(3);
  for (const job of asked) {
    expect(scraped('prometheus').map(({ job_name }) => job_name)).toContain(job);
    expect(inCluster).toContain(job);
  }
});

test('the alert about memory comes before a pod is ended for it', () => {
  const above = Number(/> ([\de.]+)$/.exec(alerts().find(({ alert }) => alert === 'MemoryHigh')?.expr ?? '')?.[1]);
  const UNITS: Record<string, number> = { Mi: 2 ** 20, Gi: 2 ** 30 };
  const limits = built.flatMap((all) =>
    podsOf(all)
      .filter(({ owner }) => ['api', 'worker'].includes(component(owner)))
      .map(({ pod }) => /^(\d+)(\w+)$/.exec(pod.containers[0].resources.limits.memory) as RegExpExecArray)
      .map(([, size, unit = '']) => Number(size) * (UNITS[unit] as number)),
  );
  expect(limits.length).toBeGreaterThan(10);
  expect(above).toBeGreaterThan(4e8);
  expect(above).toBeLessThan(Math.min(...limits) * 0.8);
});

test('API and workers are given the secrets that Compose gives them', () => {
  // With Compose the password alone is a secret, here the whole address.
  const named = (name: string) =>
    name.replace(/^(postgres|redis)_(password|url)$/, '$1').replace(/^database_url$/, 'postgres');
  const { services } = readCompose();
  for (const all of built)
    for (const { owner, pod } of podsOf(all).filter((one) => ['api', 'worker'].includes(component(one.owner)))) {
      const items = pod.volumes.flatMap(({ secret }: Resource) => secret?.items ?? []);
      const given = services[owner.metadata.name]?.secrets ?? [];
      expect(items.map(({ key }: Resource) => named(key)).sort(), owner.metadata.name).toEqual(given.map(named).sort());
      const settings = all.find(({ kind }) => kind === 'ConfigMap').data;
      const own = (pod.containers[0].env ?? []).map(({ name }: Resource) => name);
      const files = [...Object.keys(settings), ...own].filter((name: string) => name.endsWith('_FILE'));
      const inCompose = Object.keys(services[owner.metadata.name]?.environment ?? {}).filter((name) =>
        name.endsWith('_FILE'),
      );
      const secretOf = (name: string) => named(name.replace(/_FILE$/, '').toLowerCase());
      expect(files.map(secretOf).sort(), owner.metadata.name).toEqual(inCompose.map(secretOf).sort());
    }
});
