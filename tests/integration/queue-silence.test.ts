import { afterEach, beforeEach, expect, it } from 'vitest';
import { type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let redis: PrivateRedis;
let relay: Relay;
let world: World;
let client: Client;
beforeEach(async () => {
  redis = await startPrivateRedis();
  relay = await startRelay(redis.url);
  world = await createWorld({ backend: 'redis', env: { REDIS_URL: relay.url, WORKER_LANES: 'system' } });
  client = await world.client();
  await client.runTask('echo', { message: 'before' });
});
afterEach(async () => {
  relay.mend();
  await world.close();
  await relay.close();
  await redis.close();
});

/** The status of a task, without a request that waits. */
const statusOf = async (id: string) =>
  (await world.db.selectFrom('tasks').select('status').where('id', '=', id).executeTakeFirstOrThrow()).status;

it('connections to Redis that died without a word are noticed and replaced, those of waiting workers included', async () => {
  relay.set('blackhole');
  // From now on only new connections work, as behind a firewall that forgot the old ones.
  relay.mend();
  const died = performance.now();
  const first = await client.submit('echo', { message: 'x' });
  expect(performance.now() - died).toBeLessThan(4_000);
  await until('it is done', async () => (await statusOf(first.id)) === 'completed', { withinMs: 30_000, everyMs: 100 });
  expect(performance.now() - died).toBeLessThan(30_000);
});

it('while Redis is silent submissions are answered within seconds, and soon after it all is done', async () => {
  relay.set('blackhole');
  const ids: string[] = [];
  for (const end = performance.now() + 12_000; performance.now() < end; ) {
    const asked = performance.now();
    ids.push((await client.submit('echo', { message: 'x' })).id);
    expect(performance.now() - asked).toBeLessThan(4_000);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  relay.mend();
  const back = performance.now();
  await until(
    'all are done',
    async () => (await Promise.all(ids.map(statusOf))).every((status) => status === 'completed'),
    { withinMs: 30_000, everyMs: 200 },
  );
  expect(performance.now() - back).toBeLessThan(30_000);
});
