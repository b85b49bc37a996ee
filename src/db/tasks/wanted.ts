import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { type Claim, claimable } from './claim.ts';

/** A task that may be started now, and the model that it names. */
export interface Wanted extends Claim {
  model: string | null;
}

/** Which of the tasks may be started now, in no order. Nothing is locked: their claims decide. */
export async function readWanted(db: Db, jobs: Claim[]): Promise<Wanted[]> {
  const { rows } = await sql<Wanted>`
    select t.id, t.generation, t.input->>'model' as model
    from unnest(${jobs.map(({ id }) => id)}::uuid[], ${jobs.map(({ generation }) => generation)}::int[]) as c(id, generation)
    join tasks t on ${claimable}`.execute(db);
  return rows;
}
