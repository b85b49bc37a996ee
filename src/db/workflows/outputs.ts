import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { StepStatus, StoredError } from '../schema.ts';

/** What expressions see of a step that has ended. */
export interface StepResult {
  status: StepStatus;
  /** Of a step with a list: of each item in order. */
  output: unknown;
  error: StoredError | null;
}

/** The outputs of these steps would be too large together. */
export class OutputsTooLarge extends Error {
  override readonly name = 'OutputsTooLarge';
  readonly bytes: number;

  constructor(bytes: number) {
    super(`${bytes} bytes of outputs`);
    this.bytes = bytes;
  }
}

/**
 * What came of steps, by their ids; without those that are not there.
 * @throws OutputsTooLarge before anything is read
 */
export async function findResults(
  db: Db,
  workflowId: string,
  steps: string[],
  maxBytes: number,
): Promise<Map<string, StepResult>> {
  if (steps.length === 0) return new Map();
  const those = sql`s.workflow_id = ${workflowId} and s.step = any(${steps}::text[])`;
  const { rows: sizes } = await sql<{ bytes: number }>`
    select coalesce(sum(octet_length(o.output::text)), 0)::float8 as bytes from workflow_steps s, lateral (
      select coalesce(s.output, t.output) as output from (select 1) one left join tasks t on t.id = s.child_id) o
    where ${those}`.execute(db);
  const bytes = sizes[0]?.bytes ?? 0;
  if (bytes > maxBytes) throw new OutputsTooLarge(bytes);
  const { rows } = await sql<StepResult & { step: string }>`
    select s.step, s.status, s.error, case when s.items is null
      then coalesce(s.output, (select t.output from tasks t where t.id = s.child_id)) else (
      select coalesce(json_agg(t.output order by i.item), '[]') from workflow_steps i left join tasks t on t.id = i.child_id
      where i.workflow_id = s.workflow_id and i.step = s.step and i.item >= 0) end as output
    from workflow_steps s where ${those} and s.item = -1`.execute(db);
  return new Map(rows.map(({ step, ...result }) => [step, result]));
}

/** The steps that nobody needs, in the order of the definition; `undefined` where they are more than `limit`. */
export async function listLast(db: Db, workflowId: string, limit: number): Promise<string[] | undefined> {
  const { rows } = await sql<{ step: string }>`
    select s.step from workflow_steps s where s.workflow_id = ${workflowId} and s.item = -1 and not exists (
      select from workflow_edges e where e.workflow_id = s.workflow_id and e.needs = s.step)
    order by s.place limit ${limit + 1}`.execute(db);
  return rows.length > limit ? undefined : rows.map(({ step }) => step);
}

/** How many steps ended how. */
export async function countSteps(db: Db, workflowId: string): Promise<Record<string, number>> {
  const { rows } = await sql<{ status: string; count: number }>`
    select status, count(*)::int as count from workflow_steps where workflow_id = ${workflowId} and item = -1 group by status`.execute(
    db,
  );
  return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
}
