import type { Route } from '../route.ts';

/** The groups of the reference, in its order. A route belongs to the group that its path names first, or to `of`. */
const TAGS: Array<{ name: string; description: string; of: string[] }> = [
  { name: 'Tasks', description: 'Submit, wait, read, steer.', of: ['tasks', 'chat', 'callbacks'] },
  { name: 'Schedules', description: 'Tasks again and again.', of: ['schedules'] },
  { name: 'Workflows', description: 'Tasks after and beside each other, stored under names.', of: ['workflows'] },
  { name: 'Webhooks', description: 'Messages to you, and what became of them.', of: ['webhooks', 'deliveries'] },
  { name: 'Collections', description: 'Vectors and what is alike.', of: ['collections'] },
  { name: 'Agents', description: 'Services of yours that do work.', of: ['agents'] },
  { name: 'Catalogue', description: 'What can be asked for: task types and models.', of: ['task-types', 'models'] },
  { name: 'OpenAI', description: "OpenAI's API over the same queue.", of: ['v1'] },
  { name: 'Authentication', description: 'Accounts, sessions and tokens.', of: ['auth'] },
  { name: 'API keys', description: 'Access for programs.', of: ['api-keys'] },
  { name: 'Users', description: 'Accounts and invitations, for administrators.', of: ['users', 'invitations'] },
  { name: 'Monitoring', description: 'Queues and workers, for operators.', of: ['monitoring', 'metrics'] },
  { name: 'Audit', description: 'Who did what, for administrators.', of: ['audit'] },
  { name: 'Health', description: 'For load balancers.', of: ['healthz', 'readyz'] },
  { name: 'Reference', description: 'This page.', of: ['', 'docs', 'openapi.json'] },
];

export const TAG_LIST = TAGS.map(({ name, description }) => ({ name, description }));

/** The words of a path behind the version. */
function wordsOf(path: string): string[] {
  return path
    .replace(/^\/(?:api\/v1\/)?/, '')
    .split('/')
    .map((word) => word.replace(/\.json$/, ''));
}

/** The group of a route; one that is missing above is called like the path, until a test asks for its line. */
export function tagOf({ path }: Pick<Route, 'path'>): string {
  const first = path.replace(/^\/(?:api\/v1\/)?/, '').split('/')[0] ?? '';
  return TAGS.find(({ of }) => of.includes(first))?.name ?? pascal(first);
}

/** The name of an operation for programs: `getTask`, `getTasks`, `postTaskCancel`. */
export function operationIdOf({ method, path }: Pick<Route, 'method' | 'path'>): string {
  const words = wordsOf(path);
  const named = words.flatMap((word, index) => {
    if (word.startsWith(':')) return [];
    return pascal(words[index + 1]?.startsWith(':') ? singular(word) : word);
  });
  return method.toLowerCase() + (named.join('') || 'Index');
}

function singular(word: string): string {
  return word.endsWith('ies') ? `${word.slice(0, -3)}y` : word.replace(/s$/, '');
}

function pascal(word: string): string {
  return word
    .split(/[^A-Za-z0-9]+/)
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
    .join('');
}
