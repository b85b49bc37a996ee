import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
const sockets = new Set<Socket>();
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await world.close();
});

/** A connection that says nothing by itself; answers whether it is still open, and whether it was answered. */
function dial(
  url: string,
  localAddress = '127.0.0.1',
): { socket: Socket; isOpen: () => boolean; heard: () => boolean } {
  const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', localAddress });
  sockets.add(socket);
  let closed = false;
  let heard = false;
  socket
    .on('data', () => {
      heard = true;
    })
    .on('error', () => {})
    .once('close', () => {
      closed = true;
    });
  return { socket, isOpen: () => !closed, heard: () => heard };
}
const open = (all: Array<{ isOpen: () => boolean }>) => all.filter(({ isOpen }) => isOpen()).length;
const times = <T>(count: number, make: () => T) => Array.from({ length: count }, make);

it('one address holds so many connections and not one more; others and proxies of ours are not concerned', async () => {
  const env = { MAX_CONNECTIONS_PER_ADDRESS: '5', TRUSTED_PROXIES: '127.0.0.3' };
  world = await createWorld({ mode: 'api', env });
  const held = times(8, () => dial(world.url, '127.0.0.2'));
  await until('those beyond are closed', () => open(held) === 5);
  const proxy = times(20, () => dial(world.url, '127.0.0.3'));
  // An answer over the same listener shows that all before it were seen.
  expect((await world.anonymous.request('GET', '/healthz')).status).toBe(200);
  expect([open(held), open(proxy)]).toEqual([5, 20]);
  held.find(({ isOpen }) => isOpen())?.socket.destroy();
  await until('there is room for one again', async () => {
    const next = dial(world.url, '127.0.0.2');
    await world.anonymous.request('GET', '/healthz');
    return next.isOpen();
  });
});

it('clients that send a byte now and then are cut off, and hold up nobody meanwhile', async () => {
  world = await createWorld({ mode: 'api' });
  const slow = times(200, () => dial(world.url));
  for (const { socket } of slow) socket.write('GET /api/v1/tasks HTTP/1.1\r\nhost: x\r\nx-slow: ');
  const drip = setInterval(() => {
    for (const { socket } of slow) socket.write('x');
  }, 1_000);
  const started = performance.now();
  let slowest = 0;
  while (open(slow) > 0 && performance.now() - started < 25_000) {
    const asked = performance.now();
    expect((await world.anonymous.request('GET', '/healthz')).status).toBe(200);
    slowest = Math.max(slowest, performance.now() - asked);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  clearInterval(drip);
  expect(open(slow)).toBe(0);
  expect(performance.now() - started).toBeGreaterThan(8_000);
  expect(slowest).toBeLessThan(1_000);
});

it('a process without descriptors left refuses connections, does not end, and recovers', async () => {
  world = await createWorld({ mode: 'api' });
  const client = await world.client();
  const api = spawnSutazai(['api'], world.env);
  const url = await until('it is up', () => /is up at (\S+)/.exec(api.output())?.[1]);
  const pid = String(api.process.pid);
  const descriptors = () => readdirSync(`/proc/${pid}/fd`).length;
  const limit = descriptors() + 10;
  execFileSync('prlimit', ['--pid', pid, `--nofile=${limit}:${limit}`]);
  const many = times(100, () => dial(url));
  await until('it has none left', () => descriptors() >= limit - 1);
  for (const { socket } of many) socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n');
  // Those that it could still accept are answered, while the others wait at its door.
  await until('an answer', () => many.some(({ heard }) => heard()));
  expect(many.every(({ heard }) => heard())).toBe(false);
  expect(api.process.exitCode, api.output()).toBeNull();
  for (const { socket } of many) socket.destroy();
  const submit = async () => {
    const headers = { authorization: `Bearer ${client.token}`, 'content-type': 'application/json' };
    const body = JSON.stringify({ type: 'echo', input: { message: 'x' } });
    const answer = await fetch(`${url}/api/v1/tasks`, { method: 'POST', headers, body }).catch(() => undefined);
    return answer?.status;
  };
  await expect.poll(submit).toBe(202);
  expect(await api.kill('SIGTERM'), api.output()).toBe(0);
});
