// `npm run build:client` and `npm pack` run this: it makes JavaScript and types of the client, because Node does not take types out of
// files in node_modules, and of these a package of the client alone.
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toJsonSchema } from '@valibot/to-json-schema';
import { createRegistry } from '../src/tasks/index.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The parts of a JSON Schema that task types are made of. */
interface Schema {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
}

/** The types of all task types as a source text that imports nothing. */
function writtenTaskTypes(): string {
  const types = createRegistry({ vectors: true })
    .list()
    .map(({ name, input, output }) => {
      const of = (schema: typeof input, typeMode: 'input' | 'output') =>
        written(toJsonSchema(schema, { errorMode: 'ignore', typeMode, target: 'draft-2020-12' }) as Schema);
      return `  ${JSON.stringify(name)}: {\n    input: ${of(input, 'input')};\n    output: ${of(output, 'output')};\n  };`;
    });
  return `/** Input and output of every task type that the product brings, by name. */\nexport type TaskTypes = {\n${types.join('\n')}\n};\n`;
}

function written({
  type,
  const: only,
  enum: choices,
  anyOf,
  items,
  properties,
  required = [],
  additionalProperties,
}: Schema): string {
  if (only !== undefined) return JSON.stringify(only);
  if (choices) return choices.map((choice) => JSON.stringify(choice)).join(' | ');
  if (anyOf) return anyOf.map((one) => written(one)).join(' | ');
  if (type === 'integer') return 'number';
  if (type === 'array') return `Array<${written(items ?? {})}>`;
  if (type !== 'object') return type ?? 'unknown';
  if (!properties)
    return `Record<string, ${written(typeof additionalProperties === 'object' ? additionalProperties : {})}>`;
  const fields = Object.entries(properties).map(
    ([name, field]) => `${JSON.stringify(name)}${required.includes(name) ? '' : '?'}: ${written(field)}`,
  );
  return `{ ${fields.join('; ')} }`;
}

function build(): void {
  const dist = join(ROOT, 'dist');
  const windows = process.platform === 'win32';
  rmSync(dist, { recursive: true, force: true });
  cpSync(join(ROOT, 'src', 'client'), join(dist, 'source'), { recursive: true });
  writeFileSync(join(dist, 'source', 'task-types.ts'), writtenTaskTypes());
  const tsc = join(ROOT, 'node_modules', '.bin', windows ? 'tsc.cmd' : 'tsc');
  const { status } = spawnSync(tsc, ['-p', 'tsconfig.client.json'], { cwd: ROOT, stdio: 'inherit', shell: windows });
  rmSync(join(dist, 'source'), { recursive: true });
  if (status !== 0) process.exit(status ?? 1);
  makePackage(dist);
}

/** The client for those who do not run the server: the same name and import, nothing to install with it, and an older Node will do. */
function makePackage(dist: string): void {
  const whole = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const dir = join(dist, 'client-package');
  cpSync(join(dist, 'client'), join(dir, 'dist', 'client'), { recursive: true });
  cpSync(join(ROOT, 'LICENSE'), join(dir, 'LICENSE'));
  cpSync(join(ROOT, 'docs', 'client.md'), join(dir, 'README.md'));
  const { name, version, license, type } = whole;
  const about = {
    ...{ name, version, description: 'The TypeScript client of SutazAI.', license, private: true, type },
    ...{ sideEffects: false, engines: { node: '>=20' }, exports: whole.exports, files: ['dist'] },
  };
  writeFileSync(join(dir, 'package.json'), `${JSON.stringify(about, null, 2)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build();
