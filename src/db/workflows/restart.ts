import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { ITEM_ROW_BYTES } from './steps.ts';

/** Whether the task of a step or an item (`s`) was run again by itself and has not completed, or was emptied: what it gave is gone. */
const isLost = sql`(s.status = 'completed' and s.child_id is not null and not exists (
      select from tasks t where t.id = s.child_id and t.status = 'completed' and t.payload_deleted_at is null))`;

/**
 * Has a workflow begin again. Steps that completed and were not undone stay as they are, where what they gave is still there; the
 * others, and all that come after one of them, begin anew. Of a list, the items that completed stay too, where the list cannot have
 * changed.
 * @param anew whether no step stays
 */
export async function restartRun(trx: Db, workflowId: string, anew: boolean): Promise<void> {
  const those = sql`s.workflow_id = ${workflowId}`;
  // Each is looked up by its key: "offset 0" keeps Postgres from reading what is left of them for each edge.
  const after = (table: string) =>
    sql`select step from workflow_edges where workflow_id = ${workflowId} and needs = ${sql.ref(`${table}.step`)} offset 0`;
  const { rows } = await sql<{ step: string; later: boolean }>`
    with recursive first as (
      select s.step from workflow_steps s where ${those} and (${anew}::boolean
        or (s.item = -1 and s.status not in ('completed', 'skipped')) or s.undo in ('running', 'completed', 'failed') or ${isLost})
    ), later(step) as (
      select e.step from first f, lateral (${after('f')}) e union select e.step from later l, lateral (${after('l')}) e
    )
    select step, bool_or(later) as later from (
      select step, ${anew}::boolean as later from first union all select step, true from later) again group by step`.execute(
    trx,
  );
  // From here on it is about all of them, and each would be compared with all others.
  await sql`select set_config('enable_hashjoin', 'on', true)`.execute(trx);
  const again = rows.map(({ step }) => step);
  const fresh = rows.filter(({ later }) => later).map(({ step }) => step);
  await sql`delete from workflow_steps s where ${those} and s.item >= 0 and s.step = any(${fresh}::text[])`.execute(
    trx,
  );
  await sql`
    update workflow_steps s set status = 'waiting', child_id = null, error = null, undo = null, undo_id = null, started_at = null,
      ended_at = null
    where ${those} and s.item >= 0 and s.step = any(${again}::text[])
      and (s.status <> 'completed' or s.undo in ('running', 'completed', 'failed') or ${isLost})`.execute(trx);
  // What is left of a list goes on as it was begun; of the rest, those begin at once whose needs stay as they are.
  await sql`
    update workflow_steps s set
      status = case when n.items is not null then 'running' when n.needs = 0 then 'ready' else 'waiting' end,
      needs_left = n.needs, child_id = null, output = null, error = null, decision = null, undo = null, undo_id = null, expires_at = null,
      started_at = case when n.items is not null then s.started_at end, ended_at = null,
      items = n.items, items_left = n.left, items_failed = 0 * n.items
    from (
      select a.step, coalesce(n.needs, 0) as needs, i.items, i."left" from unnest(${again}::text[]) as a(step) left join (
        select e.step, count(*)::int as needs from workflow_edges e join unnest(${again}::text[]) as o(step) on o.step = e.needs
        where e.workflow_id = ${workflowId} group by e.step) n using (step) left join (
        select w.step, count(*)::int as items, count(*) filter (where w.status = 'waiting')::int as "left" from workflow_steps w
        where w.workflow_id = ${workflowId} and w.item >= 0 group by w.step) i using (step)) n
    where ${those} and s.item = -1 and s.step = n.step`.execute(trx);
  await sql`
    with next as materialized (
      select p.step, w.item from workflow_steps p, lateral (
        select item from workflow_steps w where w.workflow_id = ${workflowId} and w.step = p.step and w.item >= 0 and w.status = 'waiting'
        order by item limit coalesce((p.definition ->> 'max_parallel')::int, 1000000)) w
      where p.workflow_id = ${workflowId} and p.item = -1 and p.status = 'running')
    update workflow_steps s set status = 'ready' from next where ${those} and s.step = next.step and s.item = next.item`.execute(
    trx,
  );
  await sql`
    update workflow_runs set phase = 'forward', open = ${again.length}, busy = 0, undo = false, error = null, look_at = null,
      item_bytes = (select coalesce(sum(octet_length(s.value::text) + ${ITEM_ROW_BYTES}::int), 0)
        from workflow_steps s where ${those} and s.item >= 0)
    where workflow_id = ${workflowId}`.execute(trx);
}
