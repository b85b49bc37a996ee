import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import type { Outcome, Status, StoredError, Usage } from '../schema.ts';
import { announce, insertDeliveries, spendTokens, type Transition } from './transition.ts';

export * from './claim.ts';

/** How an attempt ended, as the worker says. A status of `pending` gives the task back to the lane. */
export interface Settlement {
  id: string;
  attempt: number;
  status: Extract<Status, 'completed' | 'failed' | 'cancelled' | 'pending'>;
  outcome: Exclude<Outcome, 'lost'>;
  /** JSON text; stored as it is. */
  output: string | null;
  error: StoredError | null;
  model: string | null;
  usage: Usage | null;
  /** For `pending`: when it may start again. */
  delay_ms: number;
  /** For `pending`: whether a new job has to wake a worker, because the present one will not. */
  new_job: boolean;
}

/**
 * Writes the outcome of attempts, the ledger and the webhook deliveries in one statement. Fenced: an attempt that is no
 * longer the present one changes nothing and answers `undefined`. A task that is being cancelled ends as cancelled
 * whatever its last attempt says.
 */
export async function settleTasks(db: Db, settlements: Settlement[]): Promise<Array<Transition | undefined>> {
  const { rows } = await sql<Transition>`
    with given as (
      select * from json_to_recordset(${JSON.stringify(settlements)}::json) as g(id uuid, attempt integer, status text,
        outcome text, output text, error jsonb, model text, usage jsonb, delay_ms bigint, new_job boolean)
    ), resolved as (
      select g.*, t.user_id, t.status = 'cancelling' as cancelling
      from given g join tasks t on t.id = g.id and t.attempt = g.attempt and t.status in ('running', 'cancelling')
      order by t.id for update of t
    ), moved as (
      update tasks t set
        status = case when r.cancelling then 'cancelled' else r.status end,
        output = case when r.cancelling then null else r.output::json end,
        error = case when r.cancelling then null else r.error end,
        model = coalesce(r.model, t.model), usage = coalesce(r.usage, t.usage), lease_until = null,
        failures = t.failures + case when r.outcome in ('retry', 'failed') then 1 else 0 end,
        generation = t.generation + case when r.new_job and not r.cancelling then 1 else 0 end,
        progress = case when r.status = 'completed' and not r.cancelling and t.progress is not null
          then jsonb_build_object('percent', 100, 'message', null) end,
        queued_at = case when r.status = 'pending' then coalesce(t.queued_at, t.ready_at) else t.queued_at end,
        ready_at = case when r.status = 'pending' then now() + r.delay_ms * interval '1 millisecond' else t.ready_at end,
        completed_at = case when r.cancelling or r.status <> 'pending' then now() end
      from resolved r where t.id = r.id
      returning t.*, case when r.cancelling then 'cancelled' else r.outcome end as outcome
    ), ledger as (
      insert into attempts (task_id, attempt, outcome, worker, model, usage, error, started_at)
      select id, attempt, outcome, worker, model, usage, error, started_at from moved
    ), ${settlements.some(({ usage }) => usage) ? spendTokens('resolved') : sql``}
    ${insertDeliveries('moved')}
    ${announce('moved')}`.execute(db);
  const moved = new Map(rows.map((row) => [row.id, row]));
  return settlements.map(({ id, attempt }) => {
    const row = moved.get(id);
    // An older attempt may stand in the same batch as the one that counts.
    return row?.attempt === attempt ? row : undefined;
  });
}

/** One running attempt, as its worker holds it. */
export interface Held {
  id: string;
  attempt: number;
}

/** Prolongs leases. What is missing in the answer is lost to its worker; `cancelling` asks it to stop. */
export async function renewLeases(
  db: Db,
  leaseMs: number,
  held: Held[],
): Promise<Array<Held & { status: Status; cancel_reason: string | null }>> {
  // Rows are locked in the order of their ids, as settling locks them, so that the two never wait for each other.
  const { rows } = await sql<Held & { status: Status; cancel_reason: string | null }>`
    with h as (
      select t.id from tasks t
      join unnest(${held.map(({ id }) => id)}::uuid[], ${held.map(({ attempt }) => attempt)}::int[]) as g(id, attempt)
        on t.id = g.id and t.attempt = g.attempt and t.status in ('running', 'cancelling')
      order by t.id for update of t
    )
    update tasks t set lease_until = now() + ${leaseMs}::int * interval '1 millisecond'
    from h where t.id = h.id
    returning t.id, t.attempt, t.status, t.cancel_reason`.execute(db);
  return rows;
}

/** Writes how far running attempts are; late writers of older attempts change nothing. */
export async function writeProgress(
  db: Db,
  updates: Array<Held & { percent: number | null; message: string | null }>,
): Promise<void> {
  await sql`
    with p as (
      select t.id, g.percent, g.message from tasks t
      join json_to_recordset(${JSON.stringify(updates)}::json) as g(id uuid, attempt integer, percent real, message text)
        on t.id = g.id and t.attempt = g.attempt and t.status = 'running'
      order by t.id for update of t
    )
    update tasks t set progress = jsonb_build_object('percent', p.percent, 'message', p.message)
    from p where t.id = p.id`.execute(db);
}
