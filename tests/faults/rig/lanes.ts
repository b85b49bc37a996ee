import { createDb, createPool, type Db } from '../../../src/db/connect.ts';
import { createLog } from '../../../src/log.ts';
import { openQueueBackend, type QueueBackend } from '../../../src/queues/backend.ts';
import type { Rig } from './rig.ts';

/** Rows and jobs of a rig, looked at from outside and past the proxies. */
export interface Lanes {
  db: Db;
  backend: QueueBackend;
}

/** Opens them, and closes them again after `use`. */
export async function withLanes<T>(rig: Rig, use: (lanes: Lanes) => Promise<T>): Promise<T> {
  const log = createLog('silent');
  const [row] = await rig.postgres.query<{ port: number }>('select inet_server_port() as port');
  const databaseUrl = Object.assign(new URL(rig.postgres.url), { port: String(row?.port) }).href;
  const redisPort = rig.redis ? String(await rig.redis.command('CONFIG', 'GET', 'port')).split(',')[1] : '';
  const backend = await openQueueBackend({
    kind: rig.backend,
    redisUrl: rig.redis ? `redis://127.0.0.1:${redisPort}` : undefined,
    databaseUrl,
    prefix: 'sutazai',
    workers: 0,
    log,
  });
  const db = createDb(createPool({ url: databaseUrl, max: 2, name: 'rig:lanes', log }));
  try {
    return await use({ db, backend });
  } finally {
    await db.destroy();
    await backend.close();
  }
}
