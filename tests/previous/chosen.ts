import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The tests of the previous release that say something of the schema: its statements, and what they come to over HTTP and in
 * workers. The others are about models, vectors, addresses, terminals and stores that are away, which no migration changes.
 */
const FILES = [
  // Statements.
  ...['claims', 'counts', 'idempotency-statements', 'prune', 'task-model', 'task-places', 'task-races', 'task-repairs'],
  ...['task-statements', 'task-transitions', 'token-usage', 'user-changes', 'user-limits'],
  // Over HTTP.
  ...['api-batch', 'api-identity', 'api-invitations', 'api-list', 'api-monitoring', 'api-own-sessions', 'api-sessions'],
  ...['api-steer', 'api-submit', 'api-user-removal', 'api-users', 'idempotency-answers', 'webhooks'],
  // Workers, jobs and what one process tells the others.
  ...['notifications', 'queue-rebuild', 'queue-repairs', 'way-of-a-task', 'worker-limits', 'worker-outcomes'],
]
  .map((name) => `tests/integration/${name}.test.ts`)
  .concat(
    ['api-key-life', 'api-keys', 'audit', 'key-rotation', 'revocation', 'task-tokens'].map(
      (name) => `tests/security/${name}.test.ts`,
    ),
  );

/** Tests among them that fail although a process of that release works on the schema as it did, each with the reason. */
const EXCEPTIONS: Array<{ file: string; test: string; why: string }> = [
  {
    file: 'tests/integration/task-statements.test.ts',
    test: 'answers what is stored, column by column',
    why: 'it compares all columns of a row, and there are newer ones, which that release never asks for',
  },
];

/**
 * What to tell vitest of what is run: words that choose files, or those above, without the exceptions.
 * @param folder where the release is laid out
 * @throws Error where an exception is of a test that the release does not have
 */
export function chosen(folder: string, words: readonly string[]): string[] {
  for (const { file, test } of EXCEPTIONS)
    if (!readFileSync(join(folder, file), 'utf8').includes(test))
      throw new Error(`${file} has no test '${test}': tests/previous/chosen.ts takes it for an exception.`);
  const exceptions = EXCEPTIONS.map(({ test }) => RegExp.escape(test));
  return [...(words.length > 0 ? words : FILES), '--testNamePattern', `^(?!.*(?:${exceptions.join('|')})$)`];
}
