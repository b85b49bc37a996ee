import { connect, createServer, type Socket } from 'node:net';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openNotifications } from '../../src/db/notify.ts';
import { createLog } from '../../src/log.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.close());

const log = createLog('silent');
const say = (text: string) => sql`select pg_notify('news', ${text})`.execute(database.db);
const listeners = async () => {
  const { rows } = await sql<{ pid: number }>`select pid from pg_stat_activity
    where application_name = 'sutazai:notify' and datname = current_database()`.execute(database.db);
  return rows.map(({ pid }) => pid);
};

describe('the notifications', () => {
  it('hear a channel until told otherwise, and refuse one that was not opened', async () => {
    const notifications = await openNotifications(database.url, ['news'], log);
    const heard: string[] = [];
    const stop = notifications.on('news', (payload) => heard.push(payload));
    expect(() => notifications.on('gossip', () => {})).toThrow('gossip');
    await say('one');
    await until('the first word', () => heard.length === 1);
    stop();
    const other = new Promise<string>((resolve) => notifications.on('news', resolve));
    await say('two');
    expect(await other).toBe('two');
    expect(heard).toEqual(['one']);
    await notifications.close();
    await until('the connection is closed', async () => (await listeners()).length === 0);
  });

  it('open another connection when theirs is ended, and say so', async () => {
    const notifications = await openNotifications(database.url, ['news'], log);
    const heard: string[] = [];
    notifications.on('news', (payload) => heard.push(payload));
    const connected = new Promise<void>((resolve) => notifications.onConnect(resolve));
    const [pid] = await listeners();
    await sql`select pg_terminate_backend(${pid}::int)`.execute(database.db);
    await connected;
    await say('after');
    await until('the word after the break', () => heard.includes('after'));
    expect(await listeners()).toEqual([expect.not.toSatisfy((one: number) => one === pid)]);
    await notifications.close();
  });

  it('come back with one connection however often opening it failed', async () => {
    const { hostname, port } = new URL(database.url);
    const proxy = createProxy(hostname, Number(port));
    const url = Object.assign(new URL(database.url), { hostname: '127.0.0.1', port: String(await proxy.listen()) });
    const notifications = await openNotifications(url.href, ['news'], log);
    const heard: string[] = [];
    notifications.on('news', (payload) => heard.push(payload));
    proxy.refuse();
    // Each refusal could start another chain of reconnects.
    await until('three refusals', () => proxy.refused() >= 3);
    proxy.allow();
    // A session is there before it listens.
    await until('the connection is back', () => notifications.connected());
    await say('back');
    await until('the word', () => heard.length > 0);
    await until('a second of quiet', quietFor(1_000, proxy.accepted));
    expect(await listeners()).toHaveLength(1);
    expect(heard).toEqual(['back']);
    await notifications.close();
    await proxy.close();
  });

  it('leave no connection behind when closed while opening one', async () => {
    const { hostname, port } = new URL(database.url);
    const proxy = createProxy(hostname, Number(port));
    const url = Object.assign(new URL(database.url), { hostname: '127.0.0.1', port: String(await proxy.listen()) });
    const notifications = await openNotifications(url.href, ['news'], log);
    proxy.hold();
    const before = proxy.accepted();
    const [pid] = await listeners();
    await sql`select pg_terminate_backend(${pid}::int)`.execute(database.db);
    await until('another connection is being opened', () => proxy.accepted() > before);
    await notifications.close();
    proxy.release();
    await until('a moment of quiet', quietFor(300, proxy.accepted));
    await until('no connection is left', async () => (await listeners()).length === 0, { withinMs: 2_000 });
    await proxy.close();
  });
});

function quietFor(ms: number, count: () => number): () => boolean {
  let [last, since] = [count(), Date.now()];
  return () => {
    if (count() !== last) [last, since] = [count(), Date.now()];
    return Date.now() - since > ms;
  };
}

/** Passes connections on, refuses them after they were accepted, or holds them back. */
function createProxy(host: string, port: number) {
  const sockets = new Set<Socket>();
  const held: Array<() => void> = [];
  let [mode, accepted, refused] = ['allow', 0, 0];
  const server = createServer((socket) => {
    accepted++;
    sockets.add(socket);
    socket.on('error', () => {}).once('close', () => sockets.delete(socket));
    if (mode === 'refuse') {
      refused++;
      socket.destroy();
      return;
    }
    const pass = () => {
      const upstream = connect(port, host, () => socket.pipe(upstream).pipe(socket));
      upstream.on('error', () => {}).once('close', () => socket.destroy());
      socket.once('close', () => upstream.destroy());
    };
    if (mode === 'hold') held.push(pass);
    else pass();
  });
  return {
    listen: () =>
      new Promise<number>((resolve) => {
        server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
      }),
    refuse() {
      mode = 'refuse';
      for (const socket of sockets) socket.destroy();
    },
    allow() {
      mode = 'allow';
    },
    hold() {
      mode = 'hold';
    },
    release() {
      mode = 'allow';
      for (const pass of held) pass();
    },
    accepted: () => accepted,
    refused: () => refused,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
