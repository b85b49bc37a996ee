// The naive build: Hono, Kysely and BullMQ as their guides show them. No limits, sessions, fences, repairs or batches.
import { createPostgresBackend, Queue, runMigrations, Worker, withBackend } from 'bullmq';
import { Redis } from 'ioredis';
import { type Generated, Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';

export interface Task {
  id: string;
  user_id: string;
  status: string;
  priority: number;
  input: { prompt: string };
  output: object | null;
  created_at: Generated<Date>;
  started_at: Date | null;
  completed_at: Date | null;
}

export const QUEUE = 'tasks';
export const SECRET = 'only for this bench, only for this bench';
const { DATABASE_URL: url = '', REDIS_URL } = process.env;

export const db = new Kysely<{ tasks: Task }>({
  dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url, max: 10 }) }),
});

const jobs = new pg.Pool({ connectionString: url, max: 10, options: '-c search_path=bullmq' });
jobs.setMaxListeners(0);
const classes = withBackend(createPostgresBackend);

export const openQueue = () =>
  REDIS_URL
    ? new Queue(QUEUE, { connection: new Redis(REDIS_URL, { maxRetriesPerRequest: null }) })
    : (new classes.Queue(QUEUE, { connection: jobs as never }) as unknown as Queue);

export const openWorker = (work: (job: { data: { id: string } }) => Promise<void>, concurrency: number) =>
  REDIS_URL
    ? new Worker(QUEUE, work, { concurrency, connection: new Redis(REDIS_URL, { maxRetriesPerRequest: null }) })
    : new classes.Worker(QUEUE, work as never, { concurrency, connection: jobs as never });

export async function migrate(): Promise<void> {
  const client = await jobs.connect();
  await client.query(`create table if not exists public.tasks (
      id uuid primary key, user_id uuid not null, status text not null, priority smallint not null, input jsonb not null,
      output jsonb, created_at timestamptz not null default now(), started_at timestamptz, completed_at timestamptz
    )`);
  await client.query('create index if not exists tasks_user_id_idx on public.tasks (user_id, id)');
  if (!REDIS_URL) await runMigrations(client as never, 'bullmq');
  client.release();
}
