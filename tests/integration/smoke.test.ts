import { execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ask, CHECKS } from '../../scripts/deploy/smoke.mjs';
import { makeKey } from '../support/api-keys.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let key: string;
beforeAll(async () => {
  world = await createWorld();
  const client = await world.client();
  key = (await makeKey(client, { scopes: ['tasks:create', 'tasks:read'] })).key;
});
afterAll(() => world.close());

it('a system that does its work answers everything as it should', async () => {
  expect(await ask(world.url, key)).toEqual(new Map());
});

it('what is wrong is named, and nothing more', async () => {
  expect([...(await ask(world.url, 'sk_wrong'))]).toEqual([['a task is run', '/api/v1/tasks answered 401']]);
});

it('a server that says yes to everything fails where it should say no, and one that is away fails everywhere', async () => {
  const server = createServer((_, response) => response.end('yes')).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const url = `http://127.0.0.1:${port}`;
  expect((await ask(url, key)).size).toBe(4);
  server.close();
  server.closeAllConnections();
  expect((await ask(url, key)).size).toBe(CHECKS.length);
});

/** A system whose logins answer so, one after the other. */
async function startSystem(logins: (n: number) => number) {
  const tasks = JSON.stringify({ status: 'completed', output: { message: 'smoke' } });
  let asked = 0;
  const server = createServer(({ url, headers }, response) => {
    const path = url as string;
    if (path.endsWith('/login')) response.statusCode = logins(asked++);
    else if (path === '/metrics') response.statusCode = 404;
    else if (path.endsWith('/tasks') && !headers['x-api-key']) response.statusCode = 401;
    response.setHeader('content-type', 'application/json').end(path.endsWith('/tasks') ? tasks : '{}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

it.each<[string, (n: number) => number, seconds: number, number, RegExp]>([
  [
    'stop working are found, although all else is well',
    (n) => (n === 0 ? 401 : 500),
    1,
    1,
    /told so: \d+ of \d+ answers/,
  ],
  // Long enough that one of them is less than a quarter, however slow a round is.
  ['fail once are not', (n) => (n === 1 ? 500 : 401), 3, 0, /It does its work/],
])('logins that %s', async (_, logins, seconds, code, said) => {
  const { server, url } = await startSystem(logins);
  const env = { SUTAZAI_API_KEY: 'sk_x', PATH: process.env.PATH };
  const args = ['scripts/deploy/smoke.mjs', url, '--for', String(seconds), '--every', '0.02'];
  const ended = await new Promise<{ code: number; text: string }>((resolve) => {
    execFile(process.execPath, args, { env }, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), text: stdout + stderr }),
    );
  });
  server.close();
  expect(ended.code).toBe(code);
  expect(ended.text).toMatch(said);
});

it('as a command it wants a URL and an API key', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/deploy/smoke.mjs'], { encoding: 'utf8', env: {} });
  expect([status, stderr]).toEqual([1, expect.stringContaining('Usage: SUTAZAI_API_KEY')]);
});
