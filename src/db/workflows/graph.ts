import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { Decision, StepStatus, StoredError, WorkflowPhase } from '../schema.ts';

/** How many items of a fan-out stand where. */
export type ItemCounts = Record<
  'total' | 'waiting' | 'running' | 'completed' | 'failed' | 'skipped' | 'cancelled',
  number
>;

/** A step as it stands. */
export interface GraphRow {
  id: string;
  place: number;
  type: string;
  title: string | null;
  status: StepStatus;
  task_id: string | null;
  error: StoredError | null;
  /** Of a step with `for_each`, once its list is known. */
  items: ItemCounts | null;
  approvers: string[] | null;
  decision: Decision | null;
  expires_at: Date | null;
  undo: 'ready' | 'running' | 'completed' | 'failed' | null;
  undo_task_id: string | null;
  started_at: Date | null;
  ended_at: Date | null;
}

/** Where a workflow stands as a whole; `undefined` for one that has not begun, and for a task that is none. */
export async function findRun(
  db: Db,
  workflowId: string,
): Promise<{ phase: WorkflowPhase; counts: Partial<Record<StepStatus, number>> } | undefined> {
  const { rows } = await sql<{ phase: WorkflowPhase; status: StepStatus; count: number }>`
    select r.phase, s.status, count(*)::int as count from workflow_runs r join workflow_steps s using (workflow_id)
    where r.workflow_id = ${workflowId} and s.item = -1 group by 1, 2`.execute(db);
  const [first] = rows;
  return first && { phase: first.phase, counts: Object.fromEntries(rows.map(({ status, count }) => [status, count])) };
}

/** Whether steps, or items of them, of a workflow that goes on may begin and have not. */
export async function hasReadySteps(db: Db, workflowId: string): Promise<boolean> {
  const { rows } = await sql`select from workflow_runs r where workflow_id = ${workflowId} and phase = 'forward'
    and exists (select from workflow_steps s where s.workflow_id = r.workflow_id and s.status = 'ready')`.execute(db);
  return rows.length > 0;
}

/** Steps in the order of the definition, from a place on. */
export async function listSteps(db: Db, workflowId: string, from: number, limit: number): Promise<GraphRow[]> {
  const { rows } = await sql<GraphRow>`
    select s.step as id, s.place, s.definition ->> 'type' as type, s.definition ->> 'title' as title, s.status, s.child_id as task_id,
      s.error, i.items, s.definition -> 'approvers' as approvers, s.decision, s.expires_at, coalesce(s.undo, i.undo) as undo, s.undo_id as undo_task_id,
      s.started_at, s.ended_at
    from workflow_steps s left join lateral (
      select jsonb_build_object('total', s.items, 'waiting', s.items - count(*) filter (where n.status not in ('waiting', 'ready')),
        'running', count(*) filter (where n.status in ('running', 'awaiting')),
        'completed', count(*) filter (where n.status = 'completed'), 'failed', count(*) filter (where n.status = 'failed'),
        'skipped', count(*) filter (where n.status = 'skipped'), 'cancelled', count(*) filter (where n.status = 'cancelled')) as items,
        case when bool_or(n.undo = 'running') then 'running' when bool_or(n.undo = 'ready') then 'ready'
          when bool_or(n.undo = 'failed') then 'failed' else max(n.undo) end as undo
      from workflow_steps n where n.workflow_id = s.workflow_id and n.step = s.step and n.item >= 0
    ) i on s.items is not null
    where s.workflow_id = ${workflowId} and s.item = -1 and s.place >= ${from} order by s.place limit ${limit}`.execute(
    db,
  );
  return rows;
}

/** The edges that lead to these steps. */
export async function listEdges(
  db: Db,
  workflowId: string,
  steps: string[],
): Promise<Array<{ from: string; to: string }>> {
  const { rows } = await sql<{ from: string; to: string }>`
    select needs as "from", step as "to" from workflow_edges
    where workflow_id = ${workflowId} and step = any(${steps}::text[]) order by step, needs`.execute(db);
  return rows;
}

/** A step that waits for a human, as somebody meets it. */
export interface Approval {
  /** The names of those who decide; null where it names nobody. */
  approvers: string[] | null;
  decision: Decision | null;
  /** Whether the user had the account before there was the workflow, and so can be whom it means. */
  known: boolean;
}

/** The approval that a step is; `undefined` where there is no such step in a workflow that has begun. @param userId who asks */
export async function findApproval(
  db: Db,
  workflowId: string,
  step: string,
  userId: string,
): Promise<Approval | undefined> {
  const { rows } = await sql<Approval>`
    select s.definition -> 'approvers' as approvers, s.decision,
      exists (select from users u where u.id = ${userId} and u.created_at <= t.created_at) as known
    from workflow_steps s join tasks t on t.id = s.workflow_id
    where s.workflow_id = ${workflowId} and s.step = ${step} and s.item = -1 and s.definition ->> 'type' = 'approval'`.execute(
    db,
  );
  return rows[0];
}

/** Notes for the timeline of a workflow who decided what of which step. */
export async function noteDecision(
  db: Db,
  {
    workflowId,
    step,
    approved,
    by,
    comment,
  }: { workflowId: string; step: string; approved: boolean; by: string; comment: string | null },
): Promise<void> {
  await noteLine(db, workflowId, {
    ...{ by, level: 'info', message: `${by} ${approved ? 'approved' : 'rejected'} the step ${step}` },
    fields: { step, approved, ...(comment === null ? {} : { comment }) },
  });
}

/** Writes a line into the timeline of a workflow. */
export async function noteLine(
  db: Db,
  workflowId: string,
  data: { by?: string; level: 'info' | 'warn'; message: string; fields: Record<string, unknown> },
): Promise<void> {
  await sql`
    insert into task_events (task_id, attempt, type, data)
    select id, attempt, 'log', ${JSON.stringify(data)}::jsonb from tasks where id = ${workflowId}`.execute(db);
}
