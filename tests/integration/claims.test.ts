import pg from 'pg';
import { describe, expect, it } from 'vitest';
import type { Db } from '../../src/db/connect.ts';
import { createLog } from '../../src/log.ts';
import { createClaims } from '../../src/workers/claims.ts';
import { LEASE_MS, settlement, useTasks } from '../support/tasks.ts';

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
