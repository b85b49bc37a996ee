import { expect, it } from 'vitest';
import { createLog } from '../../src/log.ts';
import { jobOptions, openQueueBackend } from '../../src/queues/backend.ts';
import { startProxy } from '../faults/rig/proxy.ts';
import { startPrivateRedis } from '../support/redis.ts';
import { until } from '../support/until.ts';

it('a primary that becomes a replica behind the same address is left for the new one', async () => {
  const [before, after] = await Promise.all([startPrivateRedis(), startPrivateRedis()]);
  const port = (url: string) => Number(new URL(url).port);
  const proxy = await startProxy(port(before.url));
  const redisUrl = `redis://127.0.0.1:${proxy.port}`;
  const log = createLog('silent');
  const backend = await openQueueBackend({ kind: 'redis', redisUrl, databaseUrl: '', prefix: 't', workers: 0, log });
  const data = { kind: 'task', id: 'x', generation: 0 } as const;
  const add = (jobId: string) => {
    const options = { ...jobOptions({ completed: 0, failed: 0 }), jobId, priority: 1 };
    return backend.queue('system').add('echo', data, options);
  };
  try {
    await add('one');
    // As a managed Redis does it: the name is of the new one at once, and open connections stay with the old one.
    await after.command('REPLICAOF', '127.0.0.1', String(port(before.url)));
    const linked = async () => /master_link_status:up/.test(String(await after.command('INFO', 'replication')));
    await until('the replica has caught up', linked);
    proxy.aim(port(after.url));
    await after.command('REPLICAOF', 'NO', 'ONE');
    await before.command('REPLICAOF', '127.0.0.1', String(port(after.url)));
    await expect(add('two')).rejects.toThrow('READONLY');
    await until('the new one is found', () => add('two').then(Boolean, () => false));
    expect(await after.command('ZCARD', 't:system:prioritized')).toBe(2);
  } finally {
    await backend.close();
    await proxy.close();
    await Promise.all([before.close(), after.close()]);
  }
});
