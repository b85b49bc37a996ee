import { createPostgresBackend, runMigrations, withBackend } from 'bullmq';
import type pg from 'pg';
import { createPool } from '../db/connect.ts';
import type { BackendOptions, LaneQueue, LaneWorker, QueueBackend } from './backend.ts';
import { closeQueues, openQueues } from './lane-queues.ts';

const SCHEMA = 'bullmq';

/** Makes or updates BullMQ's own tables, where it keeps its jobs in Postgres. Any number of processes may call it at once. */
export async function migrateQueueBackend(options: Pick<BackendOptions, 'kind'>, pool: pg.Pool): Promise<void> {
  if (options.kind !== 'postgres') return;
  const client = await pool.connect();
  try {
    await runMigrations(client as never, SCHEMA);
  } finally {
    client.release();
  }
}

/** BullMQ's jobs in Postgres, in a schema beside our tables. */
export async function openPostgres({ databaseUrl, workers, log }: BackendOptions): Promise<QueueBackend> {
  const pool = createPool({ url: databaseUrl, max: workers + 4, name: '', log, options: `-c search_path=${SCHEMA}` });
  // Each queue and worker hears the errors of the pool that they share.
  pool.setMaxListeners(0);
  const classes = withBackend(createPostgresBackend);
  const connection = pool as never;
  const queues = openQueues((lane) => new classes.Queue(lane, { connection }) as unknown as LaneQueue, log);
  await Promise.all(Object.values(queues).map((queue) => queue.waitUntilReady()));
  const version = async () =>
    (await pool.query("select current_setting('server_version') as version")).rows[0].version as string;
  return {
    kind: 'postgres',
    queue: (lane) => queues[lane],
    createWorker: (lane, processor, workerOptions) =>
      new classes.Worker(lane, processor as never, { ...workerOptions, connection }) as unknown as LaneWorker,
    isUp: () => true,
    // Jobs and rows live and die together here, so there is nothing to lose between them but what a restore brings.
    readEpoch: async () => 'postgres',
    writeEpoch: async () => {},
    ping: version,
    async close() {
      await closeQueues(Object.values(queues));
      await pool.end();
    },
  };
}
