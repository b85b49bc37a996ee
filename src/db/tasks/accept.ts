import { type RawBuilder, sql } from 'kysely';
import type { Lane } from '../../tasks/lanes.ts';
import { metrics } from '../../telemetry/metrics.ts';
import type { Db } from '../connect.ts';
import { jsonOfKeys, type KeyRow, type KeyUse, standingOf, type Taken, takeKeys } from '../idempotency.ts';
import { type Place, prepared } from '../prepared.ts';
import type { ConcurrencyPolicy, TaskWebhook } from '../schema.ts';
import { BY_LANE } from './backlog.ts';
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
  /** The task that this one is made from. */
  origin_id?: string;
  /** The task that this one is a part of: it is cancelled with it. */
  parent_id?: string;
  agent_id?: string;
  /** Whose tick it is, and `scheduled_for` when; with a schedule and no time it was started by hand. */
  schedule_id?: string;
  /** Of the tasks of a user with the same key, at most so many run at a time. All three are given, or none. */
  concurrency_key?: string;
  concurrency_limit?: number;
  concurrency_policy?: ConcurrencyPolicy;
  webhook: TaskWebhook | null;
  request_id: string | null;
  /** The trace that it belongs to. */
  traceparent?: string;
  /** When it may start, as a time or from now on; both `null` is at once. */
  scheduled_for: string | null;
  delay_ms: number | null;
  expires_in_ms: number | null;
  /** Since when it counts as accepted, where that is not when it is stored: what it is about was there then. */
  accepted_at?: string;
  /** Whether somebody already waits for its end. */
  watched: boolean;
  /** Whether it is to wait in the backlog of its lane, and to get no job before it is called. */
  held?: boolean;
}

type Stored = Pick<TaskRow, 'id' | 'status' | 'created_at' | 'ready_at' | 'scheduled_for' | 'expires_at'>;

const isHeldBack = ({ held }: NewTask) => held === true;

/**
 * The statement that stores tasks, given as JSON.
 * @param holds whether one of them is to wait in a backlog: mostly there is none, and then the statement is that much cheaper
 * @param only a condition on those that are given
 */
function insertTasks(tasks: Place, holds: boolean, only = sql`true`): RawBuilder<Stored> {
  return sql<Stored>`insert into tasks (id, user_id, type, lane, title, status, priority, input, max_attempts, timeout_ms, metadata,
      tags, batch_id, origin_id, parent_id, agent_id, schedule_id, concurrency_key, concurrency_limit, concurrency_policy, webhook,
      request_id, traceparent, watched, created_at, ready_at, scheduled_for, expires_at${holds ? sql`, held_by` : sql``})
    select id, user_id, type, lane, title, case when start > now() then 'scheduled' else 'pending' end, priority,
      input, max_attempts, timeout_ms, metadata, tags, batch_id, origin_id, parent_id, agent_id, schedule_id, concurrency_key, concurrency_limit,
      concurrency_policy, webhook, request_id, traceparent, watched,
      coalesce(accepted_at, now()), greatest(start, now()), start, now() + expires_in_ms * interval '1 millisecond'
      ${holds ? sql`, case when held then ${BY_LANE} end` : sql``}
    from json_to_recordset(${tasks}::json) as t(id uuid, user_id uuid, type text, lane text, title text,
      priority smallint, input json, max_attempts smallint, timeout_ms integer, metadata jsonb, tags text[],
      batch_id uuid, origin_id uuid, parent_id uuid, agent_id uuid, schedule_id uuid, concurrency_key text, concurrency_limit integer,
      concurrency_policy text, webhook jsonb, request_id text, traceparent text, watched boolean, accepted_at timestamptz, scheduled_for timestamptz,
      delay_ms bigint, expires_in_ms bigint, holder uuid, held boolean),
      lateral (select coalesce(scheduled_for, now() + delay_ms * interval '1 millisecond') as start) as s
    where ${only}
    returning id, status, created_at, ready_at, scheduled_for, expires_at`;
}

const storeTasks = prepared<[tasks: string], Stored>('store_tasks', (tasks) => insertTasks(tasks, false));
const storeHeldTasks = prepared<[tasks: string], Stored>('store_held_tasks', (tasks) => insertTasks(tasks, true));

/** Stores tasks in one statement and answers the stored rows in the order given. All are stored or none. */
export async function acceptTasks(db: Db, tasks: NewTask[]): Promise<TaskRow[]> {
  const store = tasks.some(isHeldBack) ? storeHeldTasks : storeTasks;
  const rows = await store(db, JSON.stringify(tasks));
  countAccepted(tasks);
  return rowsOf(tasks, byId(rows));
}

function countAccepted(tasks: NewTask[]): void {
  for (const { lane, type } of tasks) metrics.tasksAccepted.inc({ lane, type });
}

type KeyedRow = Stored & (KeyRow | { [name in keyof KeyRow]: null });

const keyedStatement = (name: string, holds: boolean) =>
  prepared<[keys: string, tasks: string], KeyedRow>(
    name,
    (keys, tasks) => sql`
    with ${takeKeys(keys)},
    stored as (${insertTasks(tasks, holds, sql`holder is null or holder in (select holder from held)`)})
    select id, status, created_at, ready_at, scheduled_for, expires_at,
      null::uuid as user_id, null::uuid as caller, null as key, null::uuid as holder, null::bytea as fingerprint, null::bytea as answer from stored
    union all
    select null, null, created_at, null, null, null, user_id, caller, key, holder, fingerprint, answer from held`,
  );
const storeWithKeys = keyedStatement('store_keyed_tasks', false);
const storeHeldWithKeys = keyedStatement('store_held_keyed_tasks', true);

const byId = (rows: Stored[]) => new Map(rows.map((row) => [row.id, row]));

function rowsOf(tasks: NewTask[], stored: Map<string, Stored>): TaskRow[] {
  return tasks.map(({ expires_in_ms: _, delay_ms: __, accepted_at: ___, held, ...task }) => {
    const { status, created_at, ready_at, scheduled_for, expires_at } = stored.get(task.id) as Stored;
    const held_by = held ? BY_LANE : null;
    return { ...UNSAID, ...task, ...FRESH, held_by, status, created_at, ready_at, scheduled_for, expires_at };
  });
}

/** What one caller wants stored: all of it or nothing, and with a key once, however often it asks. */
export interface Submitted {
  tasks: NewTask[];
  /** `answer` is what a later request with the same key gets to see. */
  key?: KeyUse & { answer: Buffer };
}

/** The stored rows, or why there are none. */
export type Accepted = { is: 'stored'; rows: TaskRow[] } | Taken;

/**
 * Stores the submissions of many callers in one statement, their keys in the same; each gets its own answer. The same key
 * may be there twice.
 */
export async function acceptMany(db: Db, submitted: Submitted[]): Promise<Accepted[]> {
  const keys = new Map<string, NonNullable<Submitted['key']>>();
  // The first of a batch that brings a key takes it; the others find it taken.
  for (const { key } of submitted) if (key && !keys.has(nameOf(key))) keys.set(nameOf(key), key);
  if (keys.size === 0) {
    const rows = await acceptTasks(
      db,
      submitted.flatMap(({ tasks }) => tasks),
    );
    return submitted.map(({ tasks }) => ({ is: 'stored', rows: rows.splice(0, tasks.length) }));
  }
  const given = submitted.flatMap(({ tasks, key }) =>
    key ? tasks.map((task) => ({ ...task, holder: key.holder })) : tasks,
  );
  const store = given.some(isHeldBack) ? storeHeldWithKeys : storeWithKeys;
  const rows = await store(db, jsonOfKeys([...keys.values()]), JSON.stringify(given));
  const stored = byId(rows);
  const held = new Map(rows.flatMap((row) => (row.key === null ? [] : [[nameOf(row), row as KeyRow]])));
  return submitted.map(({ tasks, key }) => {
    const standing = key ? standingOf(key, held.get(nameOf(key)) as KeyRow) : ({ is: 'mine' } as const);
    if (standing.is !== 'mine') return standing;
    countAccepted(tasks);
    return { is: 'stored', rows: rowsOf(tasks, stored) };
  });
}

const nameOf = ({ caller, key }: Pick<KeyUse, 'caller' | 'key'>) => `${caller} ${key}`;

/** The rows of tasks as they were accepted at that time, made from the same submission again; nothing is stored. */
export function acceptedAt(created_at: Date, tasks: NewTask[]): TaskRow[] {
  const after = (ms: number) => new Date(created_at.getTime() + ms);
  const rows = tasks.map(({ id, scheduled_for, delay_ms, expires_in_ms }): Stored => {
    const start = scheduled_for ? new Date(scheduled_for) : delay_ms === null ? null : after(delay_ms);
    const later = start !== null && start > created_at;
    return {
      id,
      status: later ? 'scheduled' : 'pending',
      created_at,
      ready_at: later ? start : created_at,
      scheduled_for: start,
      expires_at: expires_in_ms === null ? null : after(expires_in_ms),
    };
  });
  return rowsOf(tasks, byId(rows));
}

/** What a task has that says nothing of it. */
const UNSAID = {
  origin_id: null,
  parent_id: null,
  agent_id: null,
  schedule_id: null,
  concurrency_key: null,
  concurrency_limit: null,
  concurrency_policy: null,
  traceparent: null,
};

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
  awaiting: null,
  awaiting_until: null,
  signals: 0,
  life: 0,
  parkings: 0,
  streamed: false,
  queued_at: null,
  called: false,
  model: null,
  usage: null,
  cancel_reason: null,
  started_at: null,
  completed_at: null,
  payload_deleted_at: null,
};
