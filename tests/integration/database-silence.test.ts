import { sql } from 'kysely';
import type pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDb, createPool, type Db } from '../../src/db/connect.ts';
import { openNotifications } from '../../src/db/notify.ts';
import { createLog } from '../../src/log.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { until } from '../support/until.ts';

const log = createLog('silent');
const STATEMENT_MS = 300;
/** What pg adds for the answer to arrive, and a slow machine. */
const BOUND_MS = STATEMENT_MS + 2_000;

let database: TestDatabase;
let relay: Relay;
beforeEach(async () => {
  database = await createTestDatabase();
  relay = await startRelay(database.url);
});
afterEach(async () => {
  await relay.close();
  await database.close();
});

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/** A server that is silent does not say whether a connection is still open; this process does. */
const openSockets = () => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;

describe('a pool before a server that says nothing any more', () => {
  let pool: pg.Pool;
  let db: Db;
  beforeEach(async () => {
    pool = createPool({ url: relay.url, max: 1, name: 'test', log, statementMs: STATEMENT_MS });
    db = createDb(pool);
    await sql`select 1`.execute(db);
  });
  afterEach(() => db.destroy());

  it('ends its statements, and uses no connection again that still waits for an answer', async () => {
    relay.set('blackhole');
    const silent = sql`select 1`.execute(db);
    expect(await timed(() => expect(silent).rejects.toThrow('Query read timeout'))).toBeLessThan(BOUND_MS);
    relay.mend();
    expect(await timed(() => sql`select 1`.execute(db))).toBeLessThan(STATEMENT_MS);
  });

  it('gives up with the first silent connection the others that heard nothing since', async () => {
    const wide = createPool({ url: relay.url, max: 3, name: 'test', log, statementMs: STATEMENT_MS });
    await Promise.all([1, 2, 3].map(() => wide.query('select pg_sleep(0.05)')));
    expect(wide.idleCount).toBe(3);
    relay.set('blackhole');
    await expect(sql`select 1`.execute(createDb(wide))).rejects.toThrow('Query read timeout');
    await until('none is left', () => wide.totalCount === 0, { withinMs: 2_000 });
    await wide.end();
  });

  it('keeps one whose answer lay unread while this process was busy', async () => {
    const wide = createPool({ url: database.url, max: 2, name: 'test', log, statementMs: STATEMENT_MS });
    const [broken, healthy] = await Promise.all([wide.connect(), wide.connect()]);
    const answer = healthy.query('select 1 as one');
    for (const busyUntil = performance.now() + STATEMENT_MS + 50; performance.now() < busyUntil; );
    broken.release(new Error('nothing was heard of it'));
    expect((await answer).rows).toEqual([{ one: 1 }]);
    expect((await healthy.query('select 2 as two')).rows).toEqual([{ two: 2 }]);
    healthy.release();
    await wide.end();
  });

  it('ends a transaction after the first silence, without asking again for the roll-back', async () => {
    const work = db.transaction().execute(async (trx) => {
      relay.set('blackhole');
      await sql`select 1`.execute(trx);
    });
    expect(await timed(() => expect(work).rejects.toThrow('Query read timeout'))).toBeLessThan(BOUND_MS);
  });

  it('keeps a connection whose statement only failed', async () => {
    const pid = async () => (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db)).rows[0]?.pid;
    const before = await pid();
    await expect(sql`select 1 / 0`.execute(db)).rejects.toThrow('division by zero');
    expect(await pid()).toBe(before);
  });

  it.each([
    ['idle', async () => {}],
    ['taken', () => pool.connect()],
  ])('closes at once while its connection is %s', async (_, start) => {
    relay.set('stall');
    await start();
    const before = openSockets();
    expect(await timed(() => db.destroy())).toBeLessThan(1_500);
    await until('its socket is gone', () => openSockets() < before);
  });

  it('has the server look after the connection too', async () => {
    const { rows } = await sql<{ idle: string }>`select current_setting('tcp_keepalives_idle') as idle`.execute(db);
    expect(rows).toEqual([{ idle: '10' }]);
  });
});

it('more callers than connections wait for their turn, but not for ever', async () => {
  const pool = createPool({ url: database.url, max: 2, name: 'test', log, statementMs: 20_000 });
  const db = createDb(pool);
  const slow = [1, 2].map(() => sql`select pg_sleep(6)`.execute(db));
  await until('both connections are busy', () => pool.totalCount === 2 && pool.idleCount === 0);
  const waited = await timed(() => expect(sql`select 1`.execute(db)).rejects.toThrow('timeout exceeded'));
  expect(waited).toBeGreaterThan(2_000);
  expect(waited).toBeLessThan(5_000);
  await Promise.all(slow);
  await sql`select 1`.execute(db);
  await db.destroy();
});

describe('the notifications', () => {
  it('notice a connection that died without a word, open another, and say that it is a new one', async () => {
    const notifications = await openNotifications(relay.url, ['news'], log, 100);
    let heard = '';
    let connects = 0;
    notifications.on('news', (payload) => {
      heard = payload;
    });
    notifications.onConnect(() => connects++);
    relay.set('blackhole');
    // New connections are well again at once; the old one stays silent for good.
    relay.mend();
    await until('it is back', () => connects === 1, { withinMs: 8_000 });
    await sql`select pg_notify('news', 'hello')`.execute(database.db);
    await until('it hears', () => heard === 'hello');
    await notifications.close();
  });

  it('close at once while their connection is dead', async () => {
    const notifications = await openNotifications(relay.url, ['news'], log);
    relay.set('stall');
    const before = openSockets();
    expect(await timed(() => notifications.close())).toBeLessThan(1_500);
    await until('its socket is gone', () => openSockets() < before);
  });
});
