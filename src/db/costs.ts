import { sql } from 'kysely';
import type { Lane } from '../tasks/lanes.ts';
import type { Db } from './connect.ts';

/** What some tasks of a user cost: milliseconds, or tokens in the lanes of models. */
export interface UserCost {
  lane: Lane;
  user_id: string;
  type: string;
  runs: number;
  cost: number;
}

/** With each further run, what was before counts for so much of it: a mean is one over about twenty runs. */
const KEPT = 0.95;
const FORGOTTEN_DAYS = 7;

/** The statement that adds what was just measured. */
export function insertCosts(costs: readonly UserCost[]) {
  // Rows are locked in order, so that two processes never wait for each other.
  return sql`insert into user_costs as c (lane, user_id, type, runs, cost)
    select lane, user_id, type, runs, cost from json_to_recordset(${JSON.stringify(costs)}::json)
      as g(lane text, user_id uuid, type text, runs float8, cost float8) order by lane, user_id, type
    on conflict (lane, user_id, type) do update set runs = c.runs * power(${KEPT}::float8, excluded.runs) + excluded.runs,
      cost = c.cost * power(${KEPT}::float8, excluded.runs) + excluded.cost, updated_at = now()`;
}

/** What the average task of each lane cost in the last hour. */
export async function readMeanCosts(db: Db): Promise<Map<Lane, number>> {
  const { rows } = await sql<{ lane: Lane; mean: number }>`
    select lane, sum(cost) / sum(runs) as mean from user_costs where updated_at > now() - interval '1 hour' and runs > 0
    group by lane`.execute(db);
  return new Map(rows.map(({ lane, mean }) => [lane, mean]));
}

/** Forgets the costs of those who have had no task for days. */
export async function forgetCosts(db: Db): Promise<void> {
  await sql`delete from user_costs where updated_at < now() - ${FORGOTTEN_DAYS}::int * interval '1 day'`.execute(db);
}
