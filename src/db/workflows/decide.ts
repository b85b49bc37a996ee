import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { Decision, StoredError } from '../schema.ts';

/** What a human says of a step that waits for one. */
export interface Decided extends Pick<Decision, 'approved' | 'by' | 'comment'> {
  workflowId: string;
  step: string;
}

/**
 * Writes what was decided of a step that waits for it; the workflow is then to be moved on. The first decision counts, and none after
 * the time of the step, or once its workflow has ended. Answers whether it was taken, and whether there is such a step at all.
 */
export async function decideStep(
  db: Db,
  { workflowId, step, approved, by, comment }: Decided,
): Promise<'decided' | 'not_waiting' | 'no_step'> {
  const error: StoredError | null = approved
    ? null
    : {
        code: 'rejected',
        message: `${by.username} rejected it${comment === null ? '.' : `: ${comment}`}`,
        retryable: false,
      };
  const { rows } = await sql<{ is: 'decided' | 'not_waiting' }>`
    with those as (
      select s.step, s.status = 'awaiting' and s.decision is null and s.error is null
        and (s.expires_at is null or s.expires_at > now()) and t.status in ('pending', 'running') and r.phase = 'forward' as waits
      from workflow_steps s join tasks t on t.id = s.workflow_id join workflow_runs r on r.workflow_id = s.workflow_id
      where s.workflow_id = ${workflowId} and s.step = ${step} and s.item = -1 for update of s
    ), moved as (
      update workflow_steps s set decision = jsonb_build_object('approved', ${approved}::boolean, 'by', ${JSON.stringify(by)}::jsonb,
        'comment', ${comment}::text, 'at', to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
      from those where those.waits and s.workflow_id = ${workflowId} and s.step = those.step and s.item = -1
      returning s.step, s.decision
    ), noted as (
      insert into workflow_ends (workflow_id, step, status, error, output)
      select ${workflowId}, step, ${approved ? 'completed' : 'failed'}, ${error && JSON.stringify(error)}::jsonb,
        case when ${approved} then json_build_object('approved', true, 'by', decision -> 'by' ->> 'username', 'comment',
          decision ->> 'comment', 'at', decision ->> 'at') end
      from moved
    )
    select case when waits then 'decided' else 'not_waiting' end as is from those`.execute(db);
  return rows[0]?.is ?? 'no_step';
}
