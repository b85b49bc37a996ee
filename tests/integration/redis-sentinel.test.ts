import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLog } from '../../src/log.ts';
import { openQueueBackend, type QueueBackend } from '../../src/queues/backend.ts';
import { compareRowsAndJobs } from '../support/agreement.ts';
import { type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { type Sentinels, startSentinels } from '../support/sentinels.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const NAME = 'sutazai';
const PASSWORD = 'of Redis';
const SENTINEL_PASSWORD = 'of-the-sentinels';
const WITHIN = { withinMs: 60_000, everyMs: 50 };
const log = createLog('silent');

/** Submits one task after the other, so many at a time, until it is told to stop. */
function load(client: Client, atOnce: number) {
  let over = false;
  const ids: string[] = [];
  const refused: unknown[] = [];
  const one = async () => {
    while (!over) {
      const { status, body } = await client.request('POST', '/api/v1/tasks', {
        type: 'echo',
        input: { message: 'x' },
      });
      if (status === 202) ids.push(body.id as string);
      else refused.push(body);
    }
  };
  const all = Array.from({ length: atOnce }, one);
  return {
    ids,
    refused,
    async stop() {
      over = true;
      await Promise.all(all);
    },
  };
}

describe('with Sentinels', () => {
  let servers: PrivateRedis[];
  let sentinels: Sentinels;
  let world: World;
  let client: Client;
  let backend: QueueBackend;
  const ports = () => servers.map(({ url }) => Number(new URL(url).port));

  beforeAll(async () => {
    const settings = () => [`requirepass "${PASSWORD}"`, `masterauth "${PASSWORD}"`, 'repl-diskless-sync-delay 0'];
    servers = await Promise.all([1, 2].map(() => startPrivateRedis({ settings, client: { password: PASSWORD } })));
    const [port = 0] = ports();
    await servers[1]?.command('REPLICAOF', '127.0.0.1', String(port));
    sentinels = await startSentinels({
      ...{ count: 3, replicas: 1, name: NAME, port },
      ...{ password: SENTINEL_PASSWORD, redisPassword: `"${PASSWORD}"` },
    });
    const env = {
      ...{ REDIS_URL: '', REDIS_SENTINELS: sentinels.addresses, REDIS_SENTINEL_NAME: NAME },
      ...{ REDIS_PASSWORD: PASSWORD, REDIS_SENTINEL_PASSWORD: SENTINEL_PASSWORD, WORKER_LANES: 'system' },
    };
    world = await createWorld({ backend: 'redis', env });
    client = await world.client();
    const { redisUrl, redis } = reachOf(sentinels.addresses);
    const prefix = world.env.QUEUE_PREFIX as string;
    backend = await openQueueBackend({ kind: 'redis', redisUrl, redis, databaseUrl: '', prefix, workers: 0, log });
  });
  afterAll(async () => {
    await backend.close();
    await world.close();
    await sentinels.close();
    for (const server of servers) await server.close();
  });

  function reachOf(addresses: string, more: { name?: string; password?: string } = {}) {
    const list = addresses.split(',').map((one) => ({ host: '127.0.0.1', port: Number(one.split(':')[1]) }));
    const named = { addresses: list, name: NAME, password: SENTINEL_PASSWORD, ...more };
    const redisUrl = `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1`;
    return { redisUrl, redis: { caFile: undefined, sentinels: named } };
  }

  const open = async () => {
    const query = world.db.selectFrom('tasks').select(({ fn }) => fn.countAll<string>().as('n'));
    return Number((await query.where('status', '!=', 'completed').executeTakeFirstOrThrow()).n);
  };

  it('no accepted task is lost when the primary dies under load, and a Sentinel with it', async () => {
    const { repairs } = world.running.reconciler;
    const writing = load(client, 4);
    await until('the load has begun', () => writing.ids.length >= 60, WITHIN);
    // Who leads only after the loss has nothing to compare with, and makes all jobs again without calling it one.
    await until(
      'somebody leads, and has marked the store',
      async () => (await backend.readEpoch()) !== undefined,
      WITHIN,
    );
    await Promise.all([servers[0]?.signal('SIGKILL'), sentinels.killFirst()]);
    await until('the other one is the primary', async () => (await sentinels.primary()) === ports()[1], WITHIN);
    await until('the loss is seen', () => repairs().epochsLost === 1, WITHIN);
    const { length } = writing.ids;
    await until('the load goes on', () => writing.ids.length > length + 40, WITHIN);
    await writing.stop();
    expect(writing.refused).toEqual([]);
    await until('all have run', async () => (await open()) === 0, WITHIN);
    const ended = await world.db.selectFrom('tasks').select('id').execute();
    expect(ended.map(({ id }) => id).sort()).toEqual(writing.ids.sort());
    expect(repairs().rebuilt).toBeGreaterThan(0);
    expect(await compareRowsAndJobs(world.db, backend)).toEqual({ lacking: [], orphaned: [] });
  }, 120_000);

  it.each([
    ['no Sentinel answers', () => reachOf('127.0.0.1:1'), 'failed to connect to sentinel 127.0.0.1:1'],
    ['none knows the name', () => reachOf(sentinels.addresses, { name: 'other' }), 'No such master'],
    ['they want another password', () => reachOf(sentinels.addresses, { password: 'no' }), 'WRONGPASS'],
  ])('the start says what to look at where %s', async (_, reach, why) => {
    const opening = openQueueBackend({ kind: 'redis', ...reach(), databaseUrl: '', prefix: 't', workers: 0, log });
    await expect(opening).rejects.toThrow(why);
    await expect(opening).rejects.toThrow('look at REDIS_SENTINELS and REDIS_SENTINEL_NAME');
  });
});
