import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDb, createPool, type Db } from '../../src/db/connect.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { claimTasks } from '../../src/db/tasks/run.ts';
import { createLog } from '../../src/log.ts';
import { createRunningAttempts } from '../../src/workers/attempt.ts';
import { createGate, type Gate } from '../../src/workers/gate.ts';
import { createHeartbeat, type Heartbeat } from '../../src/workers/heartbeat.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { newTask, storeUser } from '../support/tasks.ts';

const log = createLog('silent');
const LEASE_MS = 3_000;
const SLOW_MS = 200;

let database: TestDatabase;
let relay: Relay;
let db: Db;
let gate: Gate;
let heartbeat: Heartbeat;
let id: string;
let held: boolean[];
let close: () => Promise<void>;
beforeEach(async () => {
  database = await createTestDatabase();
  relay = await startRelay(database.url);
});
afterEach(async () => {
  await close();
  await relay.close();
  await database.close();
});

/** The gate and the heartbeat of a worker that runs one task. @param options of its sessions */
async function work(options?: string): Promise<void> {
  db = createDb(
    createPool({ url: relay.url, max: 2, name: 'test', statementMs: SLOW_MS, ...(options && { options }), log }),
  );
  held = [];
  const runner = {
    hold: (on: boolean) => void held.push(on),
    extendLocks: async () => {},
    stop: () => async () => {},
    problem: () => undefined,
  };
  gate = createGate(db, () => [runner], log);
  const [row] = await acceptTasks(database.db, [newTask(await storeUser(database.db))]);
  id = row?.id ?? '';
  const [task] = await claimTasks(database.db, 'w', 60_000, [{ id, generation: 0 }]);
  if (!task) throw new Error('the task was not claimed');
  const running = createRunningAttempts();
  const attempt = running.start({ task, askedAt: performance.now() });
  heartbeat = createHeartbeat({ db, leaseMs: LEASE_MS, lockMs: 60_000, running, runners: new Map(), gate, log });
  close = async () => {
    running.end(attempt);
    relay.cut();
    gate.close();
    await heartbeat.close();
    await db.destroy();
  };
}

/** The error that a beat meets while somebody else holds the row of its task. */
const beatAtLockedRow = () =>
  database.db.transaction().execute(async (trx) => {
    await sql`select 1 from tasks where id = ${id} for update`.execute(trx);
    return heartbeat.beat().catch((error: unknown) => error);
  });

describe('the lanes of a worker', () => {
  it('stay open after one statement that took too long, of the heartbeat too', async () => {
    await work();
    const slow: unknown = await sql`select pg_sleep(5)`.execute(db).catch((error: unknown) => error);
    expect(slow).toMatchObject({ code: '57014' });
    gate.judge(slow);
    expect(await beatAtLockedRow()).toMatchObject({ code: '57014' });
    expect(held).toEqual([]);
  });

  it('stay open when a heartbeat loses against somebody else in the database', async () => {
    await work('-c lock_timeout=50ms');
    expect(await beatAtLockedRow()).toMatchObject({ code: '55P03' });
    expect(held).toEqual([]);
  });

  it('are shut when a heartbeat meets a database that refuses', async () => {
    await work();
    relay.cut();
    await expect(heartbeat.beat()).rejects.toThrow();
    expect(held).toEqual([true]);
  });

  it('are shut when a heartbeat hears nothing in time', async () => {
    await work();
    await heartbeat.beat();
    relay.set('blackhole');
    await expect(heartbeat.beat()).rejects.toThrow('did not answer within');
    expect(held).toEqual([true]);
  });
});
