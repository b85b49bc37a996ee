import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { Status, StoredError, WorkflowPhase } from '../schema.ts';

/** A workflow as whoever moves it on holds it. */
export interface Run {
  id: string;
  phase: WorkflowPhase;
  depth: number;
  input: unknown;
  steps: number;
  open: number;
  busy: number;
  undo: boolean;
  /** How large the items of all its lists are. */
  item_bytes: number;
  error: StoredError | null;
  /** Of its task. */
  status: Status;
  user_id: string;
  priority: number;
  request_id: string | null;
  traceparent: string | null;
}

/**
 * Until the transaction ends steps are found by their keys, one by one: of a workflow of many, Postgres would rather read them all
 * than look up those hundred of which the statements are.
 */
const BY_KEYS = sql`set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
      set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`;

/**
 * Holds a workflow that has begun, so that nobody else moves it on; `undefined` where there is none. Its task is held so far that
 * nobody ends it meanwhile: what begins now belongs to a workflow that goes on.
 */
export async function lockRun(trx: Db, id: string): Promise<Run | undefined> {
  const { rows } = await sql<Run>`
    select r.workflow_id as id, r.phase, r.depth, r.input, r.steps, r.open, r.busy, r.undo, r.item_bytes, r.error,
      t.status, t.user_id, t.priority, t.request_id, t.traceparent, ${BY_KEYS}
    from workflow_runs r join tasks t on t.id = r.workflow_id
    where r.workflow_id = ${id} for update of r for key share of t`.execute(trx);
  return rows[0];
}

/** Whether its user wants it again, which its next attempt sees to. */
export const isToRestart = ({ phase }: Pick<Run, 'phase'>) => phase === 'restart' || phase === 'anew';

/** Where a workflow stands, for whoever only reads. */
export async function findRun(
  db: Db,
  id: string,
): Promise<{ phase: WorkflowPhase; error: StoredError | null; input: unknown; output: unknown } | undefined> {
  return db
    .selectFrom('workflow_runs')
    .select(['phase', 'error', 'input', 'output'])
    .where('workflow_id', '=', id)
    .executeTakeFirst();
}

/** Writes where a workflow stands. @param lookInMs when it wants to be looked at, though nothing ended */
export async function saveRun(
  trx: Db,
  { id, phase, open, busy, undo, item_bytes, error }: Run,
  lookInMs: number | null,
): Promise<void> {
  await sql`
    update workflow_runs set phase = ${phase}, open = ${open}, busy = ${busy}, undo = ${undo}, item_bytes = ${item_bytes},
      error = ${error && JSON.stringify(error)}::jsonb, look_at = now() + ${lookInMs}::int * interval '1 millisecond'
    where workflow_id = ${id}`.execute(trx);
}

/** A workflow that begins. */
export interface NewRun {
  id: string;
  depth: number;
  input: unknown;
  /** The template of its output; `undefined` where it has none. */
  output: unknown;
  steps: Array<{ id: string; needs: string[]; definition: Record<string, unknown> }>;
}

/** So many steps are stored by one statement. */
const AT_ONCE = 1_000;

/** Stores a workflow with its steps, once; answers whether it was not there. */
export async function insertRun(trx: Db, { id, depth, input, output, steps }: NewRun): Promise<boolean> {
  const { rows } = await sql`
    insert into workflow_runs (workflow_id, depth, input, output, steps, open)
    values (${id}, ${depth}, ${JSON.stringify(input ?? null)}::json,
      ${output === undefined ? null : JSON.stringify(output)}::json, ${steps.length}, ${steps.length})
    on conflict do nothing returning 1`.execute(trx);
  if (rows.length === 0) return false;
  for (let from = 0; from < steps.length; from += AT_ONCE) {
    const some = steps.slice(from, from + AT_ONCE);
    const given = some.map((step, n) => ({ ...step, place: from + n, left: step.needs.length }));
    await sql`
      insert into workflow_steps (workflow_id, step, place, status, needs_left, definition)
      select ${id}, id, place, case "left" when 0 then 'ready' else 'waiting' end, "left", definition
      from json_to_recordset(${JSON.stringify(given)}::json) as g(id text, place int, "left" int, definition json)`.execute(
      trx,
    );
    const edges = some.flatMap((step) => step.needs.map((needs) => ({ step: step.id, needs })));
    if (edges.length > 0)
      await sql`
        insert into workflow_edges (workflow_id, needs, step)
        select ${id}, needs, step from json_to_recordset(${JSON.stringify(edges)}::json) as g(needs text, step text)`.execute(
        trx,
      );
  }
  return true;
}

/** How many workflows a task runs inside of. */
export async function findDepth(db: Db, taskId: string): Promise<number> {
  const { rows } = await sql<{ depth: number }>`
    select r.depth + 1 as depth from tasks t join workflow_runs r on r.workflow_id = t.parent_id where t.id = ${taskId}`.execute(
    db,
  );
  return rows[0]?.depth ?? 0;
}
