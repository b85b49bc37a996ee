import { createPostgresBackend, runMigrations, withBackend } from 'bullmq';
import type pg from 'pg';
import { createPool } from '../db/connect.ts';
import type { BackendOptions, LaneQueue, LaneWorker, QueueBackend } from './backend.ts';
import { closeQueues, JOBS_A_PAGE, openQueues } from './lane-queues.ts';
import { rememberSlow } from './slow-counts.ts';

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
  // The dashboard, the probes and the workers all ask the queue itself.
  for (const queue of Object.values(queues)) queue.getJobCounts = rememberSlow(queue.getJobCounts.bind(queue));
  await Promise.all(Object.values(queues).map((queue) => queue.waitUntilReady()));
  const version = async () =>
    (await pool.query("select current_setting('server_version') as version")).rows[0].version as string;
  return {
    kind: 'postgres',
    queue: (lane) => queues[lane],
    createWorker: (lane, processor, workerOptions) =>
      new classes.Worker(lane, processor as never, { ...workerOptions, connection }) as unknown as LaneWorker,
    isUp: () => true,
    async jobStates(lane, ids) {
      const { rows } = await pool.query<{ id: string; spent: boolean }>(
        `select id, state in ('completed', 'failed') as spent from job where queue = $1 and id = any($2)`,
        [lane, ids],
      );
      const spent = new Map(rows.map((row) => [row.id, row.spent]));
      return ids.map((id) => (spent.has(id) ? (spent.get(id) ? 'spent' : 'live') : 'missing'));
    },
    async *listJobs(lane) {
      for (let last = '', ids = [last]; ids.length > 0; last = ids.at(-1) ?? last) {
        const { rows } = await pool.query<{ id: string }>(
          `select id from job where queue = $1 and state in ('waiting', 'delayed') and id > $2 order by id limit $3`,
          [lane, last, JOBS_A_PAGE],
        );
        ids = rows.map(({ id }) => id);
        if (ids.length > 0) yield ids;
      }
    },
    async firstJobs(lane, count) {
      const { rows } = await pool.query<{ id: string }>(
        `select id from job where queue = $1 and state = 'waiting' order by priority, seq limit $2`,
        [lane, count],
      );
      return rows.map(({ id }) => id);
    },
    putBack: async (job, token) => void (await job.moveToWait(token)),
    async removeJobs(lane, ids) {
      const { rows } = await pool.query<{ removed: number }>(
        'select coalesce(sum(remove($1, id, false)), 0)::int as removed from unnest($2::text[]) as id',
        [lane, ids],
      );
      return rows[0]?.removed ?? 0;
    },
    // Jobs and rows live and die together here, so there is nothing to lose between them but what a restore brings.
    readEpoch: async () => 'postgres',
    writeEpoch: async () => {},
    clearEpoch: async () => {},
    flaw: () => undefined,
    ping: version,
    async close() {
      await closeQueues(Object.values(queues));
      await pool.end();
    },
  };
}
