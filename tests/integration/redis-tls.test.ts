import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLog } from '../../src/log.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import { type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { type Sentinels, startSentinels } from '../support/sentinels.ts';
import { createWorld } from '../support/world.ts';

const file = (name: string) => fileURLToPath(new URL(`../support/tls/${name}`, import.meta.url));
const caFile = file('ca.pem');
const PASSWORD = 'secret';
const log = createLog('silent');

/** Nothing but TLS, with a certificate of an authority that nobody else knows. */
const settings = (port: number) => [
  ...['port 0', `tls-port ${port}`, 'tls-auth-clients no', 'tls-replication yes'],
  ...[`tls-cert-file ${file('server.pem')}`, `tls-key-file ${file('server.key')}`, `tls-ca-cert-file ${caFile}`],
];
const client = { tls: { ca: readFileSync(caFile) } };

let redis: PrivateRedis;
let sentinels: Sentinels;
beforeAll(async () => {
  redis = await startPrivateRedis({
    settings: (port) => [...settings(port), `requirepass ${PASSWORD}`],
    client: { ...client, password: PASSWORD },
  });
  const port = Number(new URL(redis.url).port);
  sentinels = await startSentinels({
    ...{ count: 1, replicas: 0, name: 'mymaster', port, settings, client },
    ...{ password: 'other', redisPassword: PASSWORD },
  });
});
afterAll(async () => {
  await sentinels.close();
  await redis.close();
});

const url = () => `rediss://:${PASSWORD}@localhost:${new URL(redis.url).port}`;

it('tasks run over TLS, where the Redis is named and where Sentinels name it', async () => {
  const known = { REDIS_CA_FILE: caFile, WORKER_LANES: 'system' };
  for (const env of [
    { REDIS_URL: url() },
    {
      ...{ REDIS_URL: '', REDIS_TLS: 'true', REDIS_SENTINELS: sentinels.addresses },
      ...{ REDIS_PASSWORD: PASSWORD, REDIS_SENTINEL_PASSWORD: 'other' },
    },
  ]) {
    const world = await createWorld({ backend: 'redis', env: { ...known, ...env } });
    const { status } = await (await world.client()).runTask('echo', { message: 'x' });
    expect(status).toBe('completed');
    await world.close();
  }
});

it.each([
  ['an authority that was not named', undefined, 'self-signed certificate'],
  ['a file that is not there', '/nowhere/ca.pem', 'REDIS_CA_FILE=/nowhere/ca.pem cannot be read'],
  ['a file that is no certificate', file('server.key'), 'Redis cannot be used'],
])('the start is refused with %s', async (_, file, why) => {
  const reach = { caFile: file, sentinels: undefined };
  const options = {
    kind: 'redis',
    redisUrl: url(),
    redis: reach,
    databaseUrl: '',
    prefix: 't',
    workers: 0,
    log,
  } as const;
  await expect(openQueueBackend(options)).rejects.toThrow(why);
});
