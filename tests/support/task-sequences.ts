import fc from 'fast-check';
import { sql } from 'kysely';
import type { Db } from '../../src/db/connect.ts';
import { ENDED, type Status } from '../../src/db/schema.ts';
import { ENDINGS, type Ending } from './task-model.ts';

/** One thing that happens to some tasks of a sequence; `of` counts back from the newest attempt or generation: 0 is the present one, more is a zombie's. */
export interface Step {
  step: (typeof STEPS)[number];
  items: Array<{ task: number; of: number; how: Ending; later: boolean }>;
}

/** Tasks, and what happens to them in turn. */
export interface Sequence {
  tasks: Array<{ later: boolean }>;
  steps: Step[];
}

/** In this order the steps of one turn go, each for all sequences at once. */
export const STEPS = [
  'accept',
  'claim',
  'progress',
  'renew',
  'settle',
  'signal',
  'late',
  'cancel',
  'retry',
  'rescue',
  'expire',
  'fallDue',
  'promote',
  'rebuild',
] as const;

/** So that lives are long, and that some due tasks are claimed before they are promoted, which one sequence does for all. */
const WEIGHTS: Record<Step['step'], number> = {
  accept: 8,
  claim: 120,
  progress: 24,
  renew: 16,
  settle: 80,
  signal: 24,
  late: 8,
  cancel: 8,
  retry: 48,
  rescue: 80,
  expire: 8,
  fallDue: 32,
  promote: 1,
  rebuild: 16,
};

const seldom = fc.integer({ min: 0, max: 3 }).map((n) => n === 0);
const item = fc.record({
  task: fc.nat(3),
  of: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(2) }),
  how: fc.constantFrom(...(Object.keys(ENDINGS) as Ending[])),
  later: seldom,
});

const step: fc.Arbitrary<Step> = fc.record({
  step: fc.oneof(...STEPS.map((name) => ({ weight: WEIGHTS[name], arbitrary: fc.constant(name) }))),
  items: fc.array(item, { minLength: 1, maxLength: 3 }),
});

/** What several processes do at once, each on its own, to the same tasks. */
export const scripts: fc.Arbitrary<Step[][]> = fc.array(fc.array(step, { minLength: 10, maxLength: 30, size: 'max' }), {
  minLength: 6,
  maxLength: 6,
});

/** Many sequences, to be gone through side by side, so that one statement moves tasks of many of them. */
export function manySequences(most: number): fc.Arbitrary<Sequence[]> {
  const sequence = fc.record({
    tasks: fc.array(fc.record({ later: seldom }), { minLength: 1, maxLength: 2 }),
    steps: fc.array(step, { minLength: 5, maxLength: 20, size: 'max' }),
  });
  return fc.array(sequence, { minLength: 1, maxLength: most, size: 'max' });
}

/** A change of a task, as a trigger wrote it down. */
export interface Move {
  id: string;
  was: Status;
  became: Status;
  attempt: number;
  /** An output that was not there before. */
  output: string | null;
}

/** From now on every change of a status or an output is written down, whatever statement makes it. */
export async function recordMoves(db: Db): Promise<void> {
  await sql`create table moves (place bigserial, id uuid, was text, became text, attempt int, output json)`.execute(db);
  await sql`create function record_move() returns trigger language plpgsql as $$ begin
    insert into moves (id, was, became, attempt, output) values (new.id, old.status, new.status, new.attempt,
      case when new.output is not null and old.output::text is distinct from new.output::text then new.output end);
    return null; end $$`.execute(db);
  await sql`create trigger record_move after update on tasks for each row
    when (old.status <> new.status or old.output::text is distinct from new.output::text)
    execute function record_move()`.execute(db);
}

/** All moves of these tasks, in order, by task. */
export async function readMoves(db: Db, ids: string[]): Promise<Map<string, Move[]>> {
  const { rows } = await sql<Move>`
    select id, was, became, attempt, output from moves where id = any(${ids}::uuid[]) order by place`.execute(db);
  return Map.groupBy(rows, ({ id }) => id);
}

const hasEnded = (status: Status) => (ENDED as readonly Status[]).includes(status);

/**
 * What the moves of a task break of the two promises: one transition into an ended status a life (a life begins anew with
 * an explicit retry), and one committed output a life, by the attempt that was the present one. Answers sentences.
 */
export function brokenPromises(moves: Move[]): string[] {
  const broken: string[] = [];
  let ends = 0;
  let outputs = 0;
  let attempt = 0;
  for (const move of moves) {
    if (hasEnded(move.was)) {
      if (move.became !== 'pending') broken.push(`it left ${move.was} for ${move.became}`);
      ends = 0;
      outputs = 0;
    }
    if (move.attempt < attempt) broken.push(`attempt ${move.attempt} moved it after attempt ${attempt}`);
    attempt = Math.max(attempt, move.attempt);
    if (hasEnded(move.became) && ++ends > 1) broken.push('it ended twice');
    if (move.output === null) continue;
    if (++outputs > 1) broken.push('two outputs were committed');
    if (move.output !== `by ${move.attempt}`)
      broken.push(`attempt ${move.attempt} committed the output ${move.output}`);
    if (move.became !== 'completed') broken.push(`${move.became} has an output`);
  }
  return broken;
}
