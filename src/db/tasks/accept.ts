import { sql } from 'kysely';
import type { Lane } from '../../tasks/lanes.ts';
import type { Db } from '../connect.ts';
import type { TaskWebhook } from '../schema.ts';
import type { TaskRow } from './read.ts';

/** A task as the API accepts it; times are relative, because only the clock of the database counts. */
export interface NewTask {
  id: string;
  user_id: string;
  type: string;
  lane: Lane;
  title: string | null;
  priority: number;
  input: unknown;
  max_attempts: number;
  timeout_ms: number;
  metadata: Record<string, unknown>;
  tags: string[];
  batch_id: string | null;
  webhook: TaskWebhook | null;
  request_id: string | null;
  /** When it may start, as a time or from now on; both `null` is at once. */
  scheduled_for: string | null;
  delay_ms: number | null;
  expires_in_ms: number | null;
  /** Whether somebody already waits for its end. */
  watched: boolean;
}

type Stored = Pick<TaskRow, 'id' | 'status' | 'created_at' | 'ready_at' | 'scheduled_for' | 'expires_at'>;

/**
 * Stores tasks of many callers in one statement and answers the stored rows in the order given. All are stored or none.
 */
export async function acceptTasks(db: Db, tasks: NewTask[]): Promise<TaskRow[]> {
  const { rows } = await sql<Stored>`
    insert into tasks (id, user_id, type, lane, title, status, priority, input, max_attempts, timeout_ms, metadata, tags,
      batch_id, webhook, request_id, watched, ready_at, scheduled_for, expires_at)
    select id, user_id, type, lane, title, case when start > now() then 'scheduled' else 'pending' end, priority,
      input, max_attempts, timeout_ms, metadata, tags, batch_id, webhook, request_id, watched,
      greatest(start, now()), start, now() + expires_in_ms * interval '1 millisecond'
    from json_to_recordset(${JSON.stringify(tasks)}::json) as t(id uuid, user_id uuid, type text, lane text, title text,
      priority smallint, input json, max_attempts smallint, timeout_ms integer, metadata jsonb, tags text[],
      batch_id uuid, webhook jsonb, request_id text, watched boolean, scheduled_for timestamptz, delay_ms bigint,
      expires_in_ms bigint),
      lateral (select coalesce(scheduled_for, now() + delay_ms * interval '1 millisecond') as start) as s
    returning id, status, created_at, ready_at, scheduled_for, expires_at`.execute(db);

  const stored = new Map(rows.map((row) => [row.id, row]));
  return tasks.map(({ expires_in_ms: _, delay_ms: __, ...task }) => ({
    ...task,
    ...FRESH,
    ...(stored.get(task.id) as Stored),
  }));
}

/** Stores the submissions of many callers in one statement; each gets its own rows back. */
export async function acceptMany(db: Db, lists: NewTask[][]): Promise<TaskRow[][]> {
  const rows = await acceptTasks(db, lists.flat());
  return lists.map((list) => rows.splice(0, list.length));
}

/** What every row has at its start. */
const FRESH = {
  output: null,
  error: null,
  progress: null,
  attempt: 0,
  failures: 0,
  losses: 0,
  generation: 0,
  worker: null,
  lease_until: null,
  queued_at: null,
  model: null,
  usage: null,
  agent_id: null,
  parent_id: null,
  schedule_id: null,
  cancel_reason: null,
  started_at: null,
  completed_at: null,
};
