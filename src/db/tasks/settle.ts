import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { prepared } from '../prepared.ts';
import type { Outcome, Status, StoredError, Usage } from '../schema.ts';
import { noteEnds } from '../workflows/ends.ts';
import { besideKey, isHeld } from './claim.ts';
import { announce, countEnded, insertDeliveries, recordResumed, spendTokens, type Transition } from './transition.ts';

/** What a task is parked for. */
export interface Park {
  awaiting: string;
  /** When it is woken at the latest; `null` is never. */
  until_ms: number | null;
  /** The signals that the attempt knew of when it was claimed: where there are more now, it does not wait. */
  signals: number;
}

/**
 * How an attempt ended, as the worker says. A status of `pending` gives the task back to the lane; one of `running`, with
 * `park`, leaves it to nobody until it is signalled.
 */
export interface Settlement {
  id: string;
  attempt: number;
  status: Extract<Status, 'completed' | 'failed' | 'cancelled' | 'pending' | 'running'>;
  outcome: Exclude<Outcome, 'lost'>;
  /** JSON text; stored as it is. */
  output: string | null;
  error: StoredError | null;
  model: string | null;
  /** The digest of the model, and the label of the host that ran it, where one did. */
  model_digest?: string | null;
  host?: string | null;
  usage: Usage | null;
  park?: Park;
  /** For `pending`: when it may start again. */
  delay_ms: number;
  /** For `pending`: whether a new job has to wake a worker, because the present one will not. */
  new_job: boolean;
  /** Whether the task names a webhook itself. */
  own_webhook: boolean;
  /** Whether something may follow from its end: it is a part of another task, or a workflow. */
  follows?: boolean;
}

/**
 * Of the attempts that a task was turned away by its dependency, and of those that ended to wait outside, the ledger keeps the last so
 * many: an outage may be long, and so may what is looked at again and again.
 */
export const TURNED_AWAY_KEPT = 50;

const isOneOfMany = ({ outcome, attempt }: Settlement) =>
  (outcome === 'released' || outcome === 'parked') && attempt > TURNED_AWAY_KEPT;

/** Common table expressions that take what is beyond that out of the ledger and the timeline, one row for each that comes. */
function dropOldest() {
  return sql`dropped as (
      delete from attempts a using moved m where m.outcome in ('released', 'parked') and a.task_id = m.id
        and a.attempt <= m.attempt - ${TURNED_AWAY_KEPT}::int and a.outcome = m.outcome
      returning a.task_id, a.attempt
    ), dropped_events as (
      delete from task_events e using dropped d where e.task_id = d.task_id and e.attempt = d.attempt and e.type = 'resumed'
    ),`;
}

/** Of a settlement (`g`) that parks its task (`t`): whether somebody has signalled since the claim, so that it goes on at once. */
const signalledSince = sql`(g.park is not null and t.signals <> (g.park ->> 'signals')::int)`;

/** What goes on at once (`moved`), as of when its attempt ended (`ledger`): it is told of after that. */
const resumedAtOnce = sql`moved join ledger on ledger.task_id = moved.id where outcome = 'parked' and status = 'pending'`;

/**
 * What parking sets; nothing is in the statement of it where no task is parked. Who has come so far kills no workers: over a
 * long life, losses that have nothing to do with it would else add up.
 */
const parked = sql`parkings = t.parkings + case when r.park is null then 0 else 1 end,
        losses = case when r.park is null or r.cancelling then t.losses else 0 end,
        awaiting = case when r.status = 'running' and not r.cancelling then r.park ->> 'awaiting' end,
        awaiting_until = case when r.status = 'running' and not r.cancelling
          then now() + (r.park ->> 'until_ms')::float8 * interval '1 millisecond' end,`;

/** What a batch of settlements has; what it has not is not in its statement either. */
const PARTS = {
  parks: ({ park }: Settlement) => park !== undefined,
  oneOfMany: isOneOfMany,
  follows: ({ follows }: Settlement) => follows === true,
  usage: ({ usage }: Settlement) => usage !== null,
  own: ({ own_webhook }: Settlement) => own_webhook,
};
type Parts = Record<keyof typeof PARTS, boolean>;

const settleStatements = new Map<string, ReturnType<typeof settleStatement>>();

function settleStatement(name: string, { parks, oneOfMany, follows, usage, own }: Parts) {
  // What was signalled since its claim goes on as one that is given back with a new job.
  const resolved = parks
    ? sql`g.id, g.attempt, case when ${signalledSince} then 'pending' else g.status end as status, g.outcome, g.output, g.error,
        g.model, g.model_digest, g.host, g.usage, g.delay_ms, g.new_job or ${signalledSince} as new_job, g.park`
    : sql`g.*`;
  return prepared<[settlements: string], Transition>(
    name,
    (settlements) => sql`
    with given as (
      select * from json_to_recordset(${settlements}::json) as g(id uuid, attempt integer, status text,
        outcome text, output text, error jsonb, model text, model_digest text, host text, usage jsonb, delay_ms bigint,
        new_job boolean${parks ? sql`, park jsonb` : sql``})
    ), resolved as (
      select ${resolved}, t.user_id, t.status = 'cancelling' as cancelling
      from given g join tasks t on t.id = g.id and t.attempt = g.attempt and ${besideKey(isHeld)}
      order by t.id for update of t
    ), moved as (
      update tasks t set
        status = case when r.cancelling then 'cancelled' else r.status end,
        ${parks ? parked : sql``}
        output = case when r.cancelling then null else r.output::json end,
        error = case when r.cancelling then null else r.error end,
        model = coalesce(r.model, t.model), usage = coalesce(r.usage, t.usage), lease_until = null,
        failures = t.failures + case when r.outcome in ('retry', 'failed') then 1 else 0 end,
        generation = t.generation + case when r.new_job and not r.cancelling then 1 else 0 end,
        progress = case when r.status = 'completed' and not r.cancelling and t.progress is not null
          then jsonb_build_object('percent', 100, 'message', null)
          ${parks ? sql`when r.park is not null and not r.cancelling then t.progress` : sql``} end,
        queued_at = case when r.status = 'pending' then coalesce(t.queued_at, t.ready_at) else t.queued_at end,
        ready_at = case when r.status = 'pending' then now() + r.delay_ms * interval '1 millisecond' else t.ready_at end,
        completed_at = case when r.cancelling or r.status not in ('pending', 'running') then clock_timestamp() end
      from resolved r where t.id = r.id
      returning t.*, r.model_digest, r.host, case when r.cancelling then 'cancelled' else r.outcome end as outcome
    ), ledger as (
      insert into attempts (task_id, attempt, outcome, worker, model, model_digest, host, usage, error, started_at, ended_at)
      select id, attempt, outcome, worker, model, model_digest, host, usage, error, started_at,
        coalesce(completed_at, clock_timestamp()) from moved
      returning task_id, ended_at
    ), ${parks ? recordResumed(resumedAtOnce, 'signal', sql`ended_at`) : sql``}
    ${oneOfMany ? dropOldest() : sql``}
    ${follows ? sql`${noteEnds('moved')},` : sql``}
    ${usage ? spendTokens('resolved') : sql``}
    ${insertDeliveries('moved', { own })}
    ${announce('moved')}`,
  );
}

/**
 * Writes the outcome of attempts, the ledger and the webhook deliveries in one statement. Fenced: an attempt that is no
 * longer the present one changes nothing and answers `undefined`. A task that is being cancelled ends as cancelled
 * whatever its last attempt says.
 */
export async function settleTasks(db: Db, settlements: Settlement[]): Promise<Array<Transition | undefined>> {
  const parts = Object.fromEntries(Object.entries(PARTS).map(([part, has]) => [part, settlements.some(has)])) as Parts;
  const name = `settle_tasks_${Object.values(parts).map(Number).join('')}`;
  const settle = settleStatements.get(name) ?? settleStatement(name, parts);
  settleStatements.set(name, settle);
  const rows = await settle(db, JSON.stringify(settlements));
  countEnded(rows);
  const moved = new Map(rows.map((row) => [row.id, row]));
  return settlements.map(({ id, attempt }) => {
    const row = moved.get(id);
    // An older attempt may stand in the same batch as the one that counts.
    return row?.attempt === attempt ? row : undefined;
  });
}
