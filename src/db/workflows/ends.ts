import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { StoredError } from '../schema.ts';

/**
 * A common table expression that notes which of the tasks in `source` (rows of `tasks`) have ended and belong to a workflow, and which
 * workflows ended before their time. It only adds rows that nobody has seen, so the statement waits for nobody.
 */
export function noteEnds(source: string) {
  const tasks = sql.ref(source);
  return sql`noted as (
      insert into workflow_ends (workflow_id, child_id, status, error)
      select m.parent_id, m.id, m.status, m.error from ${tasks} m where m.parent_id is not null and m.completed_at is not null
      union all
      select m.id, null, m.status, m.error from ${tasks} m
      where m.type = 'workflow' and m.completed_at is not null and m.status <> 'completed'
    )`;
}

/**
 * A common table expression that has workflows begin again when they run the next time: with what is missing, or where they had
 * completed with all of it. @param before the tasks that are retried, as they stood before
 */
export function restartRuns(before: string) {
  return sql`restarted as (
      update workflow_runs r set phase = case b.status when 'completed' then 'anew' else 'restart' end
      from ${sql.ref(before)} b where r.workflow_id = b.id
    )`;
}

/** An end that is to be reckoned with: of a task, or of a step that is none. */
export interface End {
  child_id: string | null;
  step: string | null;
  status: 'completed' | 'failed' | 'cancelled' | 'expired';
  error: StoredError | null;
  output: unknown;
  at: Date;
}

/** Takes the first ends of a workflow; they are gone once the transaction is. */
export async function takeEnds(trx: Db, workflowId: string, limit: number): Promise<End[]> {
  const { rows } = await sql<End>`
    delete from workflow_ends where id in (
      select id from workflow_ends where workflow_id = ${workflowId} order by id limit ${limit})
    returning child_id, step, status, error, output, at`.execute(trx);
  return rows;
}

/** Ends the steps whose human has not decided in time; answers how many. */
export async function expireApprovals(db: Db, limit: number): Promise<number> {
  const error = { code: 'approval_expired', message: 'Nobody decided in time.', retryable: false };
  const { rows } = await sql`
    with late as (
      select workflow_id, step, item from workflow_steps where status = 'awaiting' and expires_at <= now()
      order by expires_at limit ${limit} for update skip locked
    ), moved as (
      update workflow_steps s set expires_at = null, error = ${JSON.stringify(error)}::jsonb from late l
      where s.workflow_id = l.workflow_id and s.step = l.step and s.item = l.item and s.decision is null
      returning s.workflow_id, s.step
    )
    insert into workflow_ends (workflow_id, step, status, error)
    select workflow_id, step, 'failed', ${JSON.stringify(error)}::jsonb from moved returning 1`.execute(db);
  return rows.length;
}

/**
 * Workflows that wait to be looked at: something ended before so many ms, or they wanted to be looked at by now. Those that begin
 * again are looked at by their next attempt.
 */
export async function listNeglected(db: Db, quietMs: number, limit: number): Promise<string[]> {
  const restarts = sql`r.phase in ('restart', 'anew')`;
  const { rows } = await sql<{ id: string }>`
    (select distinct workflow_id as id from (
      select workflow_id from workflow_ends e where at <= now() - ${quietMs}::int * interval '1 millisecond'
        and not exists (select from workflow_runs r where r.workflow_id = e.workflow_id and ${restarts})
      order by id limit ${limit * 10}) old limit ${limit})
    union (select workflow_id from workflow_runs r where look_at <= now() and not (${restarts}) order by look_at limit ${limit})`.execute(
    db,
  );
  return rows.map(({ id }) => id);
}
