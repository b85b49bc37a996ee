import { Redis } from 'ioredis';
import { sql } from 'kysely';
import { expect, inject, test } from 'vitest';
import { POLICIES } from '../../src/api/policy.ts';
import { createTestDatabase } from '../support/database.ts';
import { commandsOf, unknownServices, unknownToCli, within } from '../support/runbooks.ts';
import { filesUnder } from '../support/sources.ts';

const LINES = commandsOf();

test('the statements of runbooks run on the schema of today', async () => {
  const statements = within(LINES, /psql -U sutazai -c "(.*)"/);
  expect(statements.length).toBeGreaterThan(20);
  const database = await createTestDatabase();
  const failed: string[] = [];
  for (const { page, text } of statements) {
    const undone = new Error('taken back');
    await database.db
      .transaction()
      .execute(async (trx) => {
        await sql.raw(text).execute(trx);
        throw undone;
      })
      .catch((error: Error) => error !== undone && failed.push(`${page}: ${error.message}: ${text}`));
  }
  await database.close();
  expect(failed).toEqual([]);
});

test('the commands for Redis are ones that it knows', async () => {
  const commands = within(LINES, /redis-cli ([a-z][^']*)'/);
  expect(commands.length).toBeGreaterThan(3);
  const redis = new Redis(inject('redisUrl'));
  for (const { text } of commands) {
    const [name = '', ...words] = text.split(' ');
    await redis.call(name, ...words);
  }
  redis.disconnect();
});

test('runbooks name commands and options, and all pages services, that are there', () => {
  const cli = LINES.filter(({ text }) => /^sutazai /.test(text));
  expect(cli.length).toBeGreaterThan(20);
  expect(cli.flatMap(unknownToCli)).toEqual([]);
  expect(unknownToCli({ page: 'x', text: 'sutazai tasks list --colour red' })).toHaveLength(1);
  expect(unknownToCli({ page: 'x', text: 'sutazai explode' })).toHaveLength(1);

  expect(commandsOf(filesUnder('docs', /\.md$/)).flatMap(unknownServices)).toEqual([]);
  expect(unknownServices({ page: 'x', text: 'docker compose logs --since 15m api nobody | tail' })).toHaveLength(1);
});

test('runbooks ask for routes that there are', () => {
  const paths = within(LINES, /http:\/\/localhost:8080(\/[\w/]*)/);
  expect(paths.length).toBeGreaterThan(3);
  const known = Object.keys(POLICIES).map((route) => route.split(' ')[1]);
  expect(paths.filter(({ text }) => !known.includes(text))).toEqual([]);
});
