import * as v from 'valibot';
import type { AgentRow } from '../db/agents.ts';
import type { SecretBox } from '../secretbox.ts';
import { jsonObject, record } from '../tasks/schemas.ts';

export const MAX_SECRETS = 20;

const secretName = v.pipe(
  v.string(),
  v.regex(/^[a-z][a-z0-9_]{0,49}$/, 'must be 1–50 lower-case letters, digits or underscores, the first a letter'),
);
const secret = v.pipe(
  v.string(),
  v.minLength(1, 'must not be empty'),
  v.maxLength(8_192, 'must be at most 8192 characters'),
  // It goes into headers, where a line break would begin another one.
  v.regex(/^[\x20-\x7e]*$/, 'must be one line of printable ASCII'),
);

/** The secrets of a new agent. They are taken, and never answered. */
export const newSecrets = v.pipe(
  jsonObject,
  record(secretName, secret),
  v.check((given) => Object.keys(given).length <= MAX_SECRETS, `must be at most ${MAX_SECRETS}`),
  v.description('Values by name, for `${{ secrets.name }}`; they are stored encrypted, and no answer shows them.'),
);

/** What becomes of them: another value, or `null` for one that is forgotten. Those that are not named stay. */
export const changedSecrets = v.pipe(
  jsonObject,
  record(secretName, v.nullable(secret)),
  v.check((given) => Object.keys(given).length <= 2 * MAX_SECRETS, `must be at most ${2 * MAX_SECRETS}`),
  v.description('New values by name, and null for what is to be forgotten; those that are not named stay.'),
);

export type Secrets = Record<string, string>;

export function openSecrets(box: SecretBox, { secrets }: Pick<AgentRow, 'secrets'>): Secrets {
  return secrets ? (JSON.parse(box.open(secrets)) as Secrets) : {};
}

/** The columns that hold them. */
export function sealSecrets(box: SecretBox, secrets: Secrets): Pick<AgentRow, 'secrets' | 'secret_names'> {
  const names = Object.keys(secrets).sort();
  return { secrets: names.length > 0 ? box.seal(JSON.stringify(secrets)) : null, secret_names: names };
}

/** What is left of them after a change. */
export function changeSecrets(before: Secrets, change: Record<string, string | null>): Secrets {
  const all = Object.entries({ ...before, ...change });
  return Object.fromEntries(all.filter((one): one is [string, string] => one[1] !== null));
}
