import { posix } from 'node:path';
import { importsOf } from './sources.ts';

interface Rule {
  /** Rooms it may import from. */
  rooms: readonly string[];
  /** Rooms it may take types from, besides. */
  types?: readonly string[];
  /** Packages it may import; any where this is not given. */
  packages?: readonly string[];
}

/** What every room may use: files at the top of `src` that know nothing of the business. */
const GROUND = ['errors', 'problem-codes', 'task-error-codes', 'log', 'lifecycle', 'listening', 'telemetry', 'version'];
const EVERYTHING_BELOW = [
  ...[...GROUND, 'config', 'permissions', 'secretbox', 'callbacks'],
  ...['tasks', 'db', 'clients', 'queues', 'schedules', 'webhooks', 'vectors', 'documents', 'health', 'agents'],
  ...['expressions', 'workflows'],
];
/** Nobody reaches into these rooms, but the files that put the house together. */
const UPPER = ['api', 'workers', 'embedded'];
const COMPOSITION = ['deps', 'services', 'main', 'serve', 'demo', 'demo-receiver', 'secrets-command'];

const RULES: Record<string, Rule> = {
  telemetry: {
    rooms: ['version'],
    types: ['log'],
    packages: [
      ...['prom-client', 'node:os', '@opentelemetry/api', '@opentelemetry/context-async-hooks', '@opentelemetry/core'],
      ...['@opentelemetry/exporter-trace-otlp-http', '@opentelemetry/resources', '@opentelemetry/sdk-trace'],
    ],
  },
  version: { rooms: [] },
  errors: { rooms: GROUND },
  log: { rooms: GROUND },
  lifecycle: { rooms: GROUND },
  listening: { rooms: GROUND },
  secretbox: { rooms: GROUND },
  callbacks: { rooms: [], types: ['secretbox'] },
  permissions: { rooms: [], types: ['db'] },
  tasks: { rooms: [], types: EVERYTHING_BELOW, packages: ['valibot', 'ajv/dist/2020.js'] },
  db: { rooms: GROUND, types: ['tasks'] },
  clients: { rooms: GROUND, types: ['tasks'] },
  queues: { rooms: [...GROUND, 'tasks', 'db'] },
  backup: { rooms: [...GROUND, 'db'] },
  // It works out what users wrote, so it reaches nothing but the library that reads it.
  expressions: { rooms: [], packages: ['@marcbachmann/cel-js'] },
  workflows: { rooms: [...GROUND, 'tasks', 'db', 'queues', 'expressions'] },
  schedules: { rooms: [...GROUND, 'tasks', 'db', 'queues'] },
  webhooks: { rooms: [...GROUND, 'secretbox', 'tasks', 'db', 'clients'] },
  vectors: { rooms: [...GROUND, 'db', 'clients'], types: ['tasks'] },
  documents: { rooms: [...GROUND, 'tasks', 'db', 'clients', 'vectors'] },
  agents: { rooms: [...GROUND, 'secretbox', 'tasks', 'db', 'clients', 'expressions'] },
  health: { rooms: [...GROUND, 'tasks', 'db'], types: ['parts', 'clients', 'queues'] },
  parts: { rooms: [], types: EVERYTHING_BELOW },
  api: { rooms: EVERYTHING_BELOW, types: ['parts'] },
  workers: { rooms: EVERYTHING_BELOW, types: ['parts'] },
  embedded: { rooms: GROUND },
  // It runs in browsers too, and takes nothing of ours along but types.
  client: { rooms: [], types: ['tasks'], packages: [] },
  // It works against any server, so it goes over HTTP like everybody else.
  cli: { rooms: ['errors', 'client'], types: ['config-client'] },
};

/** What the imports of one file of `src` break, as sentences. */
export function importProblems(path: string, source: string): string[] {
  const room = roomOf(path);
  const rule = RULES[room];
  return importsOf(source).flatMap(({ target, typeOnly }) => {
    if (!target.startsWith('.')) {
      const wrong = rule?.packages && !typeOnly && !rule.packages.includes(target);
      return wrong ? [`${path} imports the package ${target}; ${room} imports ${rule.packages} only`] : [];
    }
    const other = roomOf(posix.join(posix.dirname(path), target));
    return other === room || isAllowed(room, other, rule, typeOnly)
      ? []
      : [`${path} imports ${typeOnly ? 'types ' : ''}from ${other}, which ${room} may not`];
  });
}

function isAllowed(room: string, other: string, rule: Rule | undefined, typeOnly: boolean): boolean {
  if (UPPER.includes(other)) return COMPOSITION.includes(room);
  if (!rule) return true;
  return rule.rooms.includes(other) || (typeOnly && (rule.types ?? []).includes(other));
}

/** The folder of `src` that a file is in; a file at the top is a room of its own. */
function roomOf(path: string): string {
  return (path.split('/')[1] as string).replace(/\.ts$/, '');
}
