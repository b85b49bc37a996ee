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
const GROUND = ['errors', 'log', 'lifecycle'];
const EVERYTHING_BELOW = [...GROUND, 'config', 'secretbox', 'tasks', 'db', 'clients', 'queues', 'webhooks', 'health'];
/** Nobody reaches into these rooms, but the files that put the house together. */
const UPPER = ['api', 'workers', 'embedded'];
const COMPOSITION = ['deps', 'services', 'main', 'demo', 'secrets-command'];

const RULES: Record<string, Rule> = {
  errors: { rooms: GROUND },
  log: { rooms: GROUND },
  lifecycle: { rooms: GROUND },
  secretbox: { rooms: GROUND },
  tasks: { rooms: [], types: EVERYTHING_BELOW, packages: ['valibot'] },
  db: { rooms: GROUND, types: ['tasks'] },
  clients: { rooms: GROUND, types: ['tasks'] },
  queues: { rooms: [...GROUND, 'tasks', 'db'] },
  webhooks: { rooms: [...GROUND, 'secretbox', 'tasks', 'db', 'clients'] },
  health: { rooms: [...GROUND, 'db'], types: ['parts', 'clients', 'queues'] },
  parts: { rooms: [], types: EVERYTHING_BELOW },
  api: { rooms: EVERYTHING_BELOW, types: ['parts'] },
  workers: { rooms: EVERYTHING_BELOW, types: ['parts'] },
  embedded: { rooms: GROUND },
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
