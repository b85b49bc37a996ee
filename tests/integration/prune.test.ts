import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import { prune } from '../../src/db/prune.ts';
import { wasLoggedInFrom } from '../../src/db/sessions.ts';
import { storeUser, useTasks } from '../support/tasks.ts';

const { database, accept } = useTasks();
const ago = (days: number) => new Date(Date.now() - days * 86_400_000);
const hash = () => Buffer.from(newId());

async function storeSession(created: number, expires: number, revoked?: number): Promise<string> {
  const id = newId();
  const times = { created_at: ago(created), expires_at: ago(expires), revoked_at: revoked ? ago(revoked) : null };
  const session = { id, user_id: database.userId, token_hash: hash(), address: '192.0.2.7', ...times };
  await database.db.insertInto('user_sessions').values(session).execute();
  return id;
}
async function storeKey(expires?: number, revoked?: number): Promise<string> {
  const id = newId();
  const times = { expires_at: expires ? ago(expires) : null, revoked_at: revoked ? ago(revoked) : null };
  const key = {
    id,
    user_id: database.userId,
    name: 'k',
    prefix: 'sk',
    key_hash: hash(),
    scopes: ['tasks:read'],
    ...times,
  };
  await database.db.insertInto('api_keys').values(key).execute();
  return id;
}
async function storeInvitation(expires: number, used?: number): Promise<string> {
  const id = newId();
  const times = { expires_at: ago(expires), used_at: used ? ago(used) : null };
  await database.db
    .insertInto('invitations')
    .values({ id, token_hash: hash(), role: 'user', ...times })
    .execute();
  return id;
}
const idsOf = async (table: 'user_sessions' | 'api_keys' | 'invitations') =>
  (await database.db.selectFrom(table).select('id').orderBy('id').execute()).map(({ id }) => id);

it('takes away sessions and API keys 90 days after their end, and invitations after 30', async () => {
  const { db, userId } = database;
  const sessions = [await storeSession(95, -1), await storeSession(95, 89), await storeSession(89, -1, 88)];
  await storeSession(100, 91);
  await storeSession(100, -1, 91);
  await storeSession(120, 50, 91);
  const keys = [await storeKey(), await storeKey(89), await storeKey(undefined, 89), await storeKey(-5)];
  await storeKey(91);
  await storeKey(undefined, 91);
  await storeKey(-5, 91);
  await storeKey(91, 5);
  const invitations = [await storeInvitation(-1), await storeInvitation(29), await storeInvitation(40, 29)];
  await storeInvitation(31);
  await storeInvitation(25, 31);

  await prune(db);
  // Of two connections of Postgres the later id may be the smaller one.
  expect(await idsOf('user_sessions')).toEqual(sessions.toSorted());
  expect(await idsOf('api_keys')).toEqual(keys.toSorted());
  expect(await idsOf('invitations')).toEqual(invitations.toSorted());
  expect(await wasLoggedInFrom(db, userId, '192.0.2.0/24')).toBe(true);
});

it('takes away counts that nobody asks for any more', async () => {
  const { db, userId } = database;
  await sql`insert into token_usage (user_id, day, tokens)
    select ${userId}::uuid, (now() at time zone 'utc')::date - back, back from unnest(array[0, 90, 91]) back`.execute(
    db,
  );
  await sql`insert into request_counts (subject, minute, requests)
    select 'back ' || back, extract(epoch from now())::int / 60 - back, 1 from unnest(array[0, 12]) back`.execute(db);
  await prune(db);
  const days = await db.selectFrom('token_usage').select('tokens').orderBy('tokens').execute();
  expect(days.map(({ tokens }) => Number(tokens))).toEqual([0, 90]);
  expect((await sql`select subject from request_counts`.execute(db)).rows).toEqual([{ subject: 'back 0' }]);
});

it('takes away no more at once than it is told, the rest the next times', async () => {
  const before = (await idsOf('invitations')).length;
  for (let n = 0; n < 5; n++) await storeInvitation(31);
  for (const left of [3, 1, 0]) {
    await prune(database.db, 2);
    expect(await idsOf('invitations')).toHaveLength(before + left);
  }
});

it('takes away removed webhooks and messages about no task after 90 days, but not what still has a log', async () => {
  const { db, userId } = database;
  const storeEndpoint = async (deleted?: number) => {
    const id = newId();
    const endpoint = { id, user_id: userId, url: 'https://example.com/', events: ['task.failed'], secret: hash() };
    await db
      .insertInto('webhook_endpoints')
      .values({ ...endpoint, deleted_at: deleted ? ago(deleted) : null })
      .execute();
    return id;
  };
  const storeTest = (endpoint_id: string, created: number) =>
    db
      .insertInto('deliveries')
      .values({ event: 'webhook.test', endpoint_id, url: 'https://example.com/', created_at: ago(created) })
      .execute();
  const [there, lately, logged] = [await storeEndpoint(), await storeEndpoint(89), await storeEndpoint(91)];
  const old = await storeEndpoint(91);
  await storeTest(logged, 89);
  await storeTest(old, 91);
  await prune(db);
  const endpoints = await db.selectFrom('webhook_endpoints').select('id').orderBy('id').execute();
  expect(endpoints.map(({ id }) => id)).toEqual([there, lately, logged]);
  expect(await db.selectFrom('deliveries').select('endpoint_id').execute()).toEqual([{ endpoint_id: logged }]);
});

it('remembers that a collection was removed for a day, and as long as there is a task of its user from before', async () => {
  const { db, userId } = database;
  const other = await storeUser(db);
  const removed = (user_id: string, name: string, back: number) =>
    db
      .insertInto('removed_collections')
      .values({ user_id, name, removed_at: ago(back) })
      .execute();
  await removed(userId, 'before it', 12);
  await removed(userId, 'after it', 9);
  await removed(other, 'lately', 0.9);
  await removed(other, 'long ago', 1.1);
  const id = await accept();
  await db
    .updateTable('tasks')
    .set({ created_at: ago(10) })
    .where('id', '=', id)
    .execute();
  await prune(db);
  const left = await db.selectFrom('removed_collections').select('name').orderBy('name').execute();
  expect(left.map(({ name }) => name)).toEqual(['after it', 'lately']);
});
