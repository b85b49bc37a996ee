import { sql } from 'kysely';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { createDb, createPool, type Db } from '../../src/db/connect.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { claimLimited } from '../../src/db/tasks/claim-limited.ts';
import { createLog } from '../../src/log.ts';
import { createClaims } from '../../src/workers/claims.ts';
import { LEASE_MS, newTask, settlement, useTasks } from '../support/tasks.ts';

const { database, running, read } = useTasks();
const claims = (db = database.db) =>
  createClaims({
    db,
    name: 'w',
    leaseMs: LEASE_MS,
    everybody: 0,
    agingMs: 0,
    onCalled: () => {},
    onHeld: () => {},
    onError: () => {},
    log: createLog('silent'),
  });

describe('an outcome that is too much for Postgres', () => {
  it('fails its task at once, and the others that are written with it are stored', async () => {
    const workflow = await running();
    const [deep, other] = [await running({ parent_id: workflow }), await running()];
    const levels = 100_000;
    const { settle } = claims();
    await Promise.all([
      settle(settlement(deep, 1, { output: '['.repeat(levels) + ']'.repeat(levels), follows: true })),
      settle(settlement(other, 1)),
    ]);
    expect(await read(deep)).toMatchObject({ status: 'failed', output: null, error: { code: 'internal_error' } });
    expect(await read(other)).toMatchObject({ status: 'completed' });
    // The workflow that it is a step of hears of it.
    const ends = await database.db.selectFrom('workflow_ends').select(['workflow_id', 'child_id', 'status']).execute();
    expect(ends).toEqual([{ workflow_id: workflow, child_id: deep, status: 'failed' }]);
  });
});

it('an outcome is stored although a connection does not know its own statements any more', async () => {
  const { db } = database;
  let refusals = 0;
  const executeQuery = async () => {
    refusals++;
    throw Object.assign(new pg.DatabaseError('prepared statement already exists', 0, 'error'), { code: '42P05' });
  };
  const once: Db = new Proxy(db, {
    get(_, name) {
      const value = name === 'executeQuery' && refusals === 0 ? executeQuery : db[name as keyof Db];
      return typeof value === 'function' ? (value as (...given: never[]) => unknown).bind(db) : value;
    },
  });
  const id = await running();
  await claims(once).settle(settlement(id, 1));
  expect(refusals).toBe(1);
  expect(await read(id)).toMatchObject({ status: 'completed', output: { message: 'hi' } });
});

it('a claim of tasks with a key looks at no more of them because many wait of which Postgres does not know yet', async () => {
  // What a connection has read is told where it is asked.
  const db = createDb(createPool({ url: database.url, max: 1, name: 'one', log: createLog('silent') }));
  const rowsRead = async () => {
    await sql`select pg_stat_force_next_flush()`.execute(db);
    const { rows } = await sql<{ n: number }>`
      select (seq_tup_read + idx_tup_fetch)::int as n from pg_stat_user_tables where relname = 'tasks'`.execute(db);
    return rows[0]!.n;
  };
  const keyed = { concurrency_key: 'k', concurrency_limit: 1, concurrency_policy: 'queue' as const };
  // So long that reading all of them looks dear.
  const task = newTask(database.userId, { ...keyed, input: { message: 'x'.repeat(1_500) } });
  const crowd = Array.from({ length: 3_000 }, (_, n) => ({ ...task, id: `00000000-0000-7000-8000-${n + 1e11}` }));
  await acceptTasks(db, crowd);
  const before = await rowsRead();
  const claims = crowd.slice(0, 60).map(({ id }) => ({ id, generation: 0 }));
  const { held } = await claimLimited(db, 'w', LEASE_MS, claims, { everybody: 0, agingMs: 0 });
  expect(held).toHaveLength(59);
  expect((await rowsRead()) - before).toBeLessThan(1_000);
  await db.destroy();
});
