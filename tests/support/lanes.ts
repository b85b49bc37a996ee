import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { createPool } from '../../src/db/connect.ts';
import { createLog } from '../../src/log.ts';
import { openQueueBackend, type QueueBackend } from '../../src/queues/backend.ts';
import { createDispatcher, type Dispatcher } from '../../src/queues/dispatcher.ts';
import { createPlaces, type Places } from '../../src/queues/places.ts';
import { createReconciler, type Reconciler } from '../../src/queues/reconciler.ts';
import type { TestDatabase } from './database.ts';
import type { Backend } from './world.ts';

/** The queue side of the product alone, on a test's own database: no API, no workers, and rounds only when asked for. */
export interface Lanes {
  backend: QueueBackend;
  dispatcher: Dispatcher;
  places: Places;
  reconciler: Reconciler;
  close(): Promise<void>;
}

/** Opens it. @param agingMs how much waiting a class of priority is worth */
export async function openLanes(
  kind: Backend,
  database: Pick<TestDatabase, 'db' | 'url'>,
  { redisUrl = inject('redisUrl'), agingMs = 600_000, quietMs = 0 } = {},
): Promise<Lanes> {
  const log = createLog('silent');
  const prefix = `l${randomBytes(6).toString('hex')}`;
  const backend = await openQueueBackend({ kind, redisUrl, databaseUrl: database.url, prefix, workers: 0, log });
  const dispatcher = createDispatcher(backend, { completed: 100, failed: 100, agingMs }, log);
  const pool = createPool({ url: database.url, max: 1, name: 'test:reconciler', log });
  const options = { db: database.db, pool, backend, dispatcher, log, leaseMs: 20_000, agingMs, quietMs };
  const reconciler = createReconciler({ ...options, everyMs: 3_600_000 });
  return {
    backend,
    dispatcher,
    places: createPlaces({ db: database.db, dispatcher, everybody: 0, agingMs, log }),
    reconciler,
    async close() {
      await reconciler.close();
      await pool.end();
      await backend.close();
    },
  };
}
