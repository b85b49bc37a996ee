import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { StepStatus, StoredError } from '../schema.ts';
import type { End } from './ends.ts';

/** A step, or what it does for an item, that may begin. */
export interface ReadyStep {
  step: string;
  item: number;
  /** Of the step, also for an item. */
  definition: Record<string, unknown>;
  value: unknown;
}

/** The first of those that may begin, in the order of the definition. */
export async function listReady(trx: Db, workflowId: string, limit: number): Promise<ReadyStep[]> {
  const { rows } = await sql<ReadyStep>`
    select s.step, s.item, coalesce(s.definition, p.definition) as definition, s.value
    from workflow_steps s
    left join workflow_steps p on s.item >= 0 and p.workflow_id = s.workflow_id and p.step = s.step and p.item = -1
    where s.workflow_id = ${workflowId} and s.status = 'ready' order by s.place, s.item limit ${limit}`.execute(trx);
  return rows;
}

/** A step, or an item of one, that has just ended. */
export interface EndedStep {
  step: string;
  item: number;
  status: StepStatus;
  error: StoredError | null;
  on_failure: 'fail' | 'continue' | 'compensate' | null;
}

const ended = sql`s.step, s.item, s.status, s.error, s.definition ->> 'on_failure' as on_failure`;
/** What is to be undone if it comes to that. @param definition of the step */
const undoOf = (definition: string, status: string) =>
  sql`case when ${sql.raw(status)} = 'completed' and ${sql.raw(definition)} -> 'compensate' is not null then 'ready' end`;

/**
 * Writes the ends of tasks, and of steps that are none, into the steps; answers those that it ended.
 * @param goesOn whether the workflow does: where it does not, a task that was cancelled is no failure of its step
 */
export async function endSteps(trx: Db, workflowId: string, ends: End[], goesOn: boolean): Promise<EndedStep[]> {
  const { rows } = await sql<EndedStep>`
    with given as (
      select s.step, s.item, case when g.status = 'expired' or (g.status = 'cancelled' and ${goesOn}::boolean) then 'failed'
          else g.status end as status,
        coalesce(g.error, case when g.status = 'expired' or (g.status = 'cancelled' and ${goesOn}::boolean) then jsonb_build_object(
          'code', g.status, 'message', 'The task of the step was ' || case g.status when 'expired' then 'past its deadline.'
          else 'cancelled.' end, 'retryable', false) end) as error, g.output, g.at
      from json_to_recordset(${JSON.stringify(ends)}::json) as g(child_id uuid, step text, status text, error jsonb, output json, at timestamptz),
      lateral (
        select s.step, s.item from workflow_steps s where g.child_id is not null and s.child_id = g.child_id
          and s.workflow_id = ${workflowId} and s.status = 'running'
        union all select s.step, s.item from workflow_steps s where g.child_id is null and s.workflow_id = ${workflowId}
          and s.step = g.step and s.item = -1 and s.status in ('ready', 'running', 'awaiting')
      ) s
    )
    update workflow_steps s set status = g.status, error = g.error, output = g.output, ended_at = g.at, expires_at = null,
      undo = ${undoOf('coalesce(s.definition, p.definition)', 'g.status')}
    from given g join workflow_steps p on p.workflow_id = ${workflowId} and p.step = g.step and p.item = -1
    where s.workflow_id = ${workflowId} and s.step = g.step and s.item = g.item
    returning s.step, s.item, s.status, s.error, p.definition ->> 'on_failure' as on_failure`.execute(trx);
  return rows;
}

/** What became of a step, or an item, that was to begin. */
export interface Begun {
  step: string;
  item: number;
  status: Extract<StepStatus, 'running' | 'awaiting' | 'completed' | 'failed' | 'skipped'>;
  child_id?: string;
  error?: StoredError;
  /** How long its list is. */
  items?: number;
  expires_in_seconds?: number;
}

/** Writes what became of ready steps; answers those that have ended by it. */
export async function beginSteps(trx: Db, workflowId: string, begun: Begun[]): Promise<EndedStep[]> {
  const { rows } = await sql<EndedStep>`
    update workflow_steps s set status = g.status, child_id = g.child_id, error = g.error, started_at = clock_timestamp(),
      items = coalesce(g.items, s.items), items_left = coalesce(g.items, s.items_left), items_failed = coalesce(g.items * 0, s.items_failed),
      output = case when g.items = 0 then '[]'::json end,
      expires_at = now() + g.expires_in_seconds * interval '1 second',
      ended_at = case when g.status not in ('running', 'awaiting') then clock_timestamp() end
    from json_to_recordset(${JSON.stringify(begun)}::json) as g(step text, item int, status text, child_id uuid, error jsonb,
        items int, expires_in_seconds float8),
      workflow_steps p
    where s.workflow_id = ${workflowId} and s.step = g.step and s.item = g.item
      and p.workflow_id = ${workflowId} and p.step = g.step and p.item = -1
    returning s.step, s.item, s.status, s.error, p.definition ->> 'on_failure' as on_failure`.execute(trx);
  return rows.filter(({ status }) => status !== 'running' && status !== 'awaiting');
}

/** An item has so many bytes besides what is in it. */
export const ITEM_ROW_BYTES = 256;

/** Stores what a step is to do for each of a list, given as JSON, of which at most so many at a time. */
export async function insertItems(
  trx: Db,
  workflowId: string,
  step: string,
  list: string,
  parallel: number,
): Promise<void> {
  await sql`
    insert into workflow_steps (workflow_id, step, item, place, status, value)
    select ${workflowId}, ${step}, n - 1, p.place, case when n <= ${parallel}::int then 'ready' else 'waiting' end, g.value
    from json_array_elements(${list}::json) with ordinality as g(value, n),
      workflow_steps p where p.workflow_id = ${workflowId} and p.step = ${step} and p.item = -1`.execute(trx);
}

/** A step of which items have ended, and how many. */
export interface ItemCount {
  step: string;
  ended: number;
  failed: number;
  /** Whether the others shall go on, because the workflow does. */
  more: boolean;
}

/**
 * Counts items that have ended, lets as many others of the step begin, and ends the steps of which none is left; answers those.
 */
export async function countItems(trx: Db, workflowId: string, counts: ItemCount[]): Promise<EndedStep[]> {
  const given = sql`json_to_recordset(${JSON.stringify(counts)}::json) as g(step text, ended int, failed int, more boolean)`;
  await sql`
    update workflow_steps s set status = 'ready' from ${given}, lateral (
      select item from workflow_steps w where w.workflow_id = ${workflowId} and w.step = g.step and w.item >= 0
        and w.status = 'waiting' order by item limit case when g.more then g.ended else 0 end) as next
    where s.workflow_id = ${workflowId} and s.step = g.step and s.item = next.item`.execute(trx);
  const { rows } = await sql<EndedStep>`
    update workflow_steps s set items_left = s.items_left - g.ended, items_failed = s.items_failed + g.failed,
      status = case when s.items_left > g.ended then s.status when s.items_failed + g.failed > 0 then 'failed'
        when not g.more and exists (select from workflow_steps w where w.workflow_id = ${workflowId} and w.step = s.step and w.item >= 0
          and w.status = 'cancelled') then 'cancelled' else 'completed' end,
      error = case when s.items_left = g.ended and s.items_failed + g.failed > 0 then jsonb_build_object('code', 'items_failed',
        'message', (s.items_failed + g.failed) || ' of ' || s.items || ' items failed.', 'retryable', false) end,
      ended_at = case when s.items_left = g.ended then clock_timestamp() end
    from ${given} where s.workflow_id = ${workflowId} and s.step = g.step and s.item = -1
    returning ${ended}`.execute(trx);
  return rows.filter(({ status }) => status !== 'running');
}

/** Lets begin what waited for nothing but these steps. */
export async function releaseDependents(trx: Db, workflowId: string, steps: string[]): Promise<void> {
  await sql`
    update workflow_steps s set needs_left = s.needs_left - e.ended,
      status = case when s.needs_left = e.ended then 'ready' else s.status end
    from (
      select step, count(*)::int as ended from workflow_edges
      where workflow_id = ${workflowId} and needs = any(${steps}::text[]) group by step
    ) e where s.workflow_id = ${workflowId} and s.step = e.step and s.item = -1`.execute(trx);
}

/** Closes a step whose items failed, and what of its workflow will not happen any more. */
export async function closeSteps(trx: Db, workflowId: string): Promise<void> {
  await sql`
    update workflow_steps s set status = case when s.items_failed > 0 then 'failed' else 'cancelled' end, ended_at = clock_timestamp()
    where s.workflow_id = ${workflowId} and s.status in ('waiting', 'ready', 'running', 'awaiting')`.execute(trx);
}
