import { sql } from 'kysely';
import { afterEach, expect, it } from 'vitest';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD, createWorld, type World } from '../support/world.ts';

let world: World;
afterEach(() => world.close());

it('fifty requests at once that each need a transaction share two connections', async () => {
  world = await createWorld({
    backend: 'redis',
    mode: 'api',
    env: { DATABASE_POOL_MAX: '2', AUTH_RATE_LIMIT_PER_MINUTE: '0' },
  });
  const client = await world.client();
  const calls = Array.from({ length: 50 }, (_, n) =>
    n % 2 === 0
      ? world.anonymous.request('POST', '/api/v1/auth/login', { username: client.username, password: ADMIN_PASSWORD })
      : client.request('POST', '/api/v1/api-keys', { name: `key ${n}` }),
  );
  const statuses = (await Promise.all(calls)).map(({ status }) => status);
  expect(statuses).toEqual(statuses.map((_, n) => (n % 2 === 0 ? 200 : 201)));
});

it('where all connections wait for a lock, requests are answered 503 within seconds, and well again afterwards', async () => {
  world = await createWorld({ backend: 'redis', mode: 'api', env: { DATABASE_POOL_MAX: '2' } });
  const client = await world.client();
  let letGo = () => {};
  const gate = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const held = world.db.transaction().execute(async (trx) => {
    await sql`lock table tasks in access exclusive mode`.execute(trx);
    await gate;
  });
  await until('it is held', async () => {
    const { rows } =
      await sql`select 1 from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = 'tasks'::regclass`.execute(
        world.db,
      );
    return rows.length > 0;
  });
  const asked = performance.now();
  const calls = Array.from({ length: 20 }, (_, n) =>
    n % 2 === 0
      ? client.request('GET', '/api/v1/tasks')
      : client.request('POST', '/api/v1/tasks', { type: 'echo', input: { message: 'x' } }),
  );
  expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(calls.map(() => 503));
  expect(performance.now() - asked).toBeLessThan(12_000);
  letGo();
  await held;
  await client.submit('echo', { message: 'x' });
});
