import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
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
  expect(await ask(world.url, key)).toEqual([]);
});

it('what is wrong is named, and nothing more', async () => {
  const [failed = '', ...others] = await ask(world.url, 'sk_wrong');
  expect(failed).toBe('a task is run: /api/v1/tasks answered 401');
  expect(others).toEqual([]);
});

it('a server that says yes to everything fails where it should say no, and one that is away fails everywhere', async () => {
  const server = createServer((_, response) => response.end('yes')).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const url = `http://127.0.0.1:${port}`;
  expect(await ask(url, key)).toHaveLength(4);
  server.close();
  server.closeAllConnections();
  expect(await ask(url, key)).toHaveLength(CHECKS.length);
});

it('as a command it wants a URL and an API key', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/deploy/smoke.mjs'], { encoding: 'utf8', env: {} });
  expect([status, stderr]).toEqual([1, expect.stringContaining('Usage: SUTAZAI_API_KEY')]);
});
