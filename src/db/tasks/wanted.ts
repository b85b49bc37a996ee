import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { prepared } from '../prepared.ts';
import { type Claim, claimable } from './claim.ts';

/** A task that may be started now, and the model that it names. */
export interface Wanted extends Claim {
  model: string | null;
}

const wantedTasks = prepared<[ids: string[], generations: number[]], Wanted>(
  'wanted_tasks',
  (ids, generations) => sql`
    select t.id, t.generation, t.input->>'model' as model
    from unnest(${ids}::uuid[], ${generations}::int[]) as c(id, generation) join tasks t on ${claimable}`,
);

/** Which of the tasks may be started now, in no order. Nothing is locked: their claims decide. */
export function readWanted(db: Db, jobs: Claim[]): Promise<Wanted[]> {
  return wantedTasks(
    db,
    jobs.map(({ id }) => id),
    jobs.map(({ generation }) => generation),
  );
}
