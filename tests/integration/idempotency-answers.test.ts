import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createIdempotency, type Idempotency } from '../../src/api/idempotency.ts';
import type { RouteAnswer } from '../../src/api/route.ts';
import type { KeyUse } from '../../src/db/idempotency.ts';
import { newId } from '../../src/db/ids.ts';
import { ProblemError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { storeUser } from '../support/tasks.ts';

let database: TestDatabase;
let user_id: string;
let idempotency: Idempotency;
const box = createSecretBox(Buffer.alloc(32, 1).toString('base64'));
beforeAll(async () => {
  database = await createTestDatabase();
  user_id = await storeUser(database.db);
  idempotency = createIdempotency({ db: database.db, box, log: createLog('silent') });
});
afterAll(() => database.close());

/** Another request with this key; each has a name of its own. */
const use = (key: string, asked = 'this'): KeyUse => ({
  user_id,
  caller: user_id,
  key,
  fingerprint: box.digest(asked),
  holder: newId(),
});
const made: RouteAnswer = { status: 201, body: { id: 1, key: 'sk_secret' }, headers: { Location: '/things/1' } };

/** Work that waits until it is let go, and counts how often it was done. */
function work(answer: () => RouteAnswer) {
  let go = () => {};
  const started = Promise.withResolvers<void>();
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const done = { times: 0, go, started: started.promise, run };
  async function run() {
    done.times++;
    started.resolve();
    await gate;
    return answer();
  }
  return done;
}

it('answers 409 while the first is at work, and its answer with all that belongs to it from then on', async () => {
  const thing = work(() => made);
  const first = idempotency.once(use('k'), thing.run);
  await thing.started;
  await expect(idempotency.once(use('k'), thing.run)).rejects.toMatchObject({
    code: 'idempotency_key_in_use',
    headers: { 'Retry-After': '1' },
  });
  await expect(idempotency.once(use('k', 'that'), thing.run)).rejects.toMatchObject({ code: 'idempotency_key_reused' });
  thing.go();
  expect(await first).toEqual(made);
  const again = { ...made, headers: { ...made.headers, 'Idempotency-Replayed': 'true' } };
  expect(await idempotency.once(use('k'), thing.run)).toEqual(again);
  await expect(idempotency.once(use('k', 'that'), thing.run)).rejects.toMatchObject({ code: 'idempotency_key_reused' });
  expect(thing.times).toBe(1);
});

it('replays an answer without a body', async () => {
  await idempotency.once(use('empty'), async () => ({ status: 204 }));
  const again = await idempotency.once(use('empty'), async () => made);
  expect(again).toEqual({ status: 204, headers: { 'Idempotency-Replayed': 'true' } });
});

it.each([
  ['a refusal', new ProblemError('already_exists', 'taken')],
  ['a fault of ours', new Error('broken')],
  ['a statement that was ended', Object.assign(new Error('canceling statement'), { code: '57014' })],
  ['a database without room', Object.assign(new Error('disk full'), { code: '53100' })],
])('does the work again after %s', async (name, error) => {
  await expect(
    idempotency.once(use(name), async () => {
      throw error;
    }),
  ).rejects.toBe(error);
  expect(await idempotency.once(use(name, 'mended'), async () => made)).toEqual(made);
});

it.each([
  ['the connection was lost', new Error('Connection terminated unexpectedly')],
  ['the socket broke', Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })],
  ['the server went down', Object.assign(new Error('terminating connection'), { code: '57P01' })],
])('does not do the work again where it may have been done, until the lease is over: %s', async (name, error) => {
  const thing = work(() => {
    throw error;
  });
  thing.go();
  await expect(idempotency.once(use(name), thing.run)).rejects.toBe(error);
  await expect(idempotency.once(use(name), thing.run)).rejects.toMatchObject({ code: 'idempotency_key_in_use' });
  expect(thing.times).toBe(1);
  await sql`update idempotency_keys set expires_at = now() where key = ${name}`.execute(database.db);
  expect(await idempotency.once(use(name), async () => made)).toEqual(made);
});

it('does not keep an answer that says that nothing was done', async () => {
  await idempotency.once(use('full'), async () => ({ status: 503 }));
  expect(await idempotency.once(use('full'), async () => made)).toEqual(made);
});

it('does the work again when the first never came to its end, once its lease is over', async () => {
  const lost = work(() => made);
  const first = idempotency.once(use('lost'), lost.run);
  await lost.started;
  const { rows } = await sql<{ seconds: number }>`
    select extract(epoch from expires_at - now())::int as seconds from idempotency_keys where key = 'lost'`.execute(
    database.db,
  );
  expect(rows[0]?.seconds).toBeGreaterThan(40);
  expect(rows[0]?.seconds).toBeLessThan(61);
  await sql`update idempotency_keys set expires_at = now() where key = 'lost'`.execute(database.db);
  const second = { status: 201, body: { id: 2 } };
  expect(await idempotency.once(use('lost'), async () => second)).toEqual(second);
  // The first comes back too late to change what is kept.
  lost.go();
  await first;
  expect(await idempotency.once(use('lost'), lost.run)).toMatchObject(second);
});

it('answers what was done, also where its key cannot be written any more', async () => {
  const answer = await idempotency.once(use('away'), async () => {
    await sql`alter table idempotency_keys rename to away`.execute(database.db);
    return made;
  });
  await sql`alter table away rename to idempotency_keys`.execute(database.db);
  expect(answer).toEqual(made);
  await expect(idempotency.once(use('away'), async () => made)).rejects.toMatchObject({
    code: 'idempotency_key_in_use',
  });
});

it('does nothing where the key cannot be taken', async () => {
  await sql`alter table idempotency_keys rename to away`.execute(database.db);
  const thing = work(() => made);
  thing.go();
  await expect(idempotency.once(use('never'), thing.run)).rejects.toMatchObject({ code: '42P01' });
  await sql`alter table away rename to idempotency_keys`.execute(database.db);
  expect(thing.times).toBe(0);
});
