import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { End } from './ends.ts';
import type { ReadyStep } from './steps.ts';

/** The step, or the item, that is to be undone next: the last that completed. */
export async function findLastDone(trx: Db, workflowId: string): Promise<ReadyStep | undefined> {
  const { rows } = await sql<ReadyStep>`
    select s.step, s.item, coalesce(s.definition, p.definition) as definition, s.value from workflow_steps s
    left join workflow_steps p on s.item >= 0 and p.workflow_id = s.workflow_id and p.step = s.step and p.item = -1
    where s.workflow_id = ${workflowId} and s.undo = 'ready' order by s.ended_at desc, s.place desc, s.item desc limit 1`.execute(
    trx,
  );
  return rows[0];
}

/** What came of a step or an item alone. */
export async function findOwnOutput(
  trx: Db,
  workflowId: string,
  { step, item }: Pick<ReadyStep, 'step' | 'item'>,
): Promise<unknown> {
  const { rows } = await sql<{ output: unknown }>`
    select coalesce(s.output, t.output) as output from workflow_steps s left join tasks t on t.id = s.child_id
    where s.workflow_id = ${workflowId} and s.step = ${step} and s.item = ${item}`.execute(trx);
  return rows[0]?.output ?? null;
}

/** Writes that a task undoes it, or that there can be none. */
export async function beginUndo(
  trx: Db,
  workflowId: string,
  { step, item }: Pick<ReadyStep, 'step' | 'item'>,
  childId: string | null,
): Promise<void> {
  await sql`
    update workflow_steps set undo = ${childId === null ? 'failed' : 'running'}, undo_id = ${childId}
    where workflow_id = ${workflowId} and step = ${step} and item = ${item}`.execute(trx);
}

/** Writes the ends of tasks that undo steps; answers how many those were. */
export async function endUndos(trx: Db, workflowId: string, ends: End[]): Promise<number> {
  const { rows } = await sql`
    update workflow_steps s set undo = case g.status when 'completed' then 'completed' else 'failed' end
    from json_to_recordset(${JSON.stringify(ends)}::json) as g(child_id uuid, status text)
    where s.workflow_id = ${workflowId} and s.undo = 'running' and s.undo_id = g.child_id returning 1`.execute(trx);
  return rows.length;
}

/** How many steps were undone, and could not be; of one with a list that is one where any of its items could not be. */
export async function countUndone(trx: Db, workflowId: string): Promise<{ completed: number; failed: number }> {
  const { rows } = await sql<{ completed: number; failed: number }>`
    select count(*) filter (where not failed)::int as completed, count(*) filter (where failed)::int as failed from (
      select bool_or(undo = 'failed') as failed from workflow_steps
      where workflow_id = ${workflowId} and undo in ('completed', 'failed') group by step) one`.execute(trx);
  return rows[0] as { completed: number; failed: number };
}
