import fc from 'fast-check';
import { sql } from 'kysely';
import { beforeAll, expect, it } from 'vitest';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { expireTasks, promoteTasks, raiseGenerations, rescueTasks } from '../../src/db/tasks/repair.ts';
import { claimTasks, renewLeases, settleTasks, writeProgress } from '../../src/db/tasks/run.ts';
import { signalTasks, wakeLate } from '../../src/db/tasks/signal.ts';
import { cancelTask, retryTask } from '../../src/db/tasks/steer.ts';
import type { Transition } from '../../src/db/tasks/transition.ts';
import { ENDINGS } from '../support/task-model.ts';
import { brokenPromises, readMoves, recordMoves, type Step, scripts } from '../support/task-sequences.ts';
import { newTask, settlement, useTasks } from '../support/tasks.ts';

const TASKS = 12;
const LEASE_MS = 3_600_000;
const webhook = {
  url: 'http://127.0.0.1/',
  events: ['completed', 'failed', 'cancelled', 'expired'].map((status) => `task.${status}`),
  secret: 'AAAA',
};

const { database } = useTasks();
beforeAll(() => recordMoves(database.db));

/** What all processes together believe of a task: the newest that any of them was told. */
interface Known {
  id: string;
  attempt: number;
  generation: number;
  /** How many signals its newest attempt knew of. */
  signals: number;
}

/** What they were told, to be held against what is stored. */
interface Told {
  claims: string[];
  settled: string[];
}

/** One process: it takes its steps one after the other, as fast as it can. */
async function act(steps: Step[], tasks: Known[], told: Told): Promise<void> {
  const { db } = database;
  const learn = (moved: Array<Pick<Transition, 'id' | 'attempt' | 'generation'> | undefined>) => {
    for (const one of moved) {
      const known = tasks.find(({ id }) => id === one?.id);
      if (!known || !one) continue;
      known.attempt = Math.max(known.attempt, one.attempt);
      known.generation = Math.max(known.generation, one.generation);
    }
  };
  for (const [n, { step, items }] of steps.entries()) {
    // Items lie close together, so that every process works on the same few tasks.
    const work = items.map((item) => ({ ...item, known: tasks[(item.task + n) % tasks.length]! }));
    const ids = [...new Set(work.map(({ known }) => known.id))];
    const first = work[0]!;
    const held = ids.map((id) => {
      const { known, of } = work.find((one) => one.known.id === id)!;
      return { id, attempt: known.attempt - of };
    });
    if (step === 'claim') {
      const given = work.map(({ known, of }) => ({ id: known.id, generation: known.generation - of }));
      const claimed = await claimTasks(db, 'w', LEASE_MS, given);
      learn(claimed);
      for (const task of claimed) {
        const known = tasks.find(({ id }) => id === task?.id);
        if (known && task) known.signals = task.signals;
      }
      told.claims.push(...claimed.flatMap((task) => (task ? [`${task.id} ${task.attempt}`] : [])));
    } else if (step === 'settle') {
      const settlements = held.map(({ id, attempt }) => {
        const output = first.how === 'complete' ? JSON.stringify(`by ${attempt}`) : null;
        const { signals } = tasks.find((known) => known.id === id)!;
        const park = first.how === 'park' && { park: { awaiting: 'callback', until_ms: 0, signals } };
        return settlement(id, attempt, { ...ENDINGS[first.how], ...park, delay_ms: 0, output });
      });
      const moved = await settleTasks(db, settlements);
      learn(moved);
      told.settled.push(...held.filter((_, index) => moved[index]).map(({ id, attempt }) => `${id} ${attempt}`));
    } else if (step === 'renew') await renewLeases(db, LEASE_MS, held);
    else if (step === 'progress')
      await writeProgress(
        db,
        held.map((one) => ({ ...one, percent: 5, message: null })),
      );
    else if (step === 'signal')
      learn(
        await signalTasks(
          db,
          ids.map((id) => ({ id })),
        ),
      );
    else if (step === 'late') learn(await wakeLate(db, 10));
    else if (step === 'cancel') learn([await cancelTask(db, 'any', first.known.id, 'user')]);
    else if (step === 'retry') learn([await retryTask(db, 'any', first.known.id)]);
    else if (step === 'rescue') {
      await sql`update tasks set lease_until = now() - interval '1 second'
        where id = ${first.known.id} and lease_until is not null`.execute(db);
      learn(await rescueTasks(db, 10));
    } else if (step === 'expire') {
      await sql`update tasks set expires_at = '2026-01-01' where id = ${first.known.id}`.execute(db);
      learn(await expireTasks(db, 10));
      await sql`update tasks set expires_at = null where id = ${first.known.id}`.execute(db);
    } else if (step === 'promote' || step === 'fallDue') await promoteTasks(db, 10);
    else if (step === 'rebuild') {
      const raised = await raiseGenerations(
        db,
        'task',
        ids.map((id) => tasks.find((known) => known.id === id)!),
      );
      learn([...raised].map(([id, generation]) => ({ id, generation, attempt: 0 })));
    }
  }
}

it('tasks keep both promises when six processes do everything to them at once, and nobody waits for ever', async () => {
  const { db } = database;
  const race = async (given: Step[][]) => {
    await sql`truncate tasks, moves cascade`.execute(db);
    const rows = await acceptTasks(
      db,
      Array.from({ length: TASKS }, () => newTask(database.userId, { webhook })),
    );
    const tasks = rows.map(({ id }) => ({ id, attempt: 0, generation: 0, signals: 0 }));
    const told: Told = { claims: [], settled: [] };
    await Promise.all(given.map((steps) => act(steps, tasks, told)));

    const ids = rows.map(({ id }) => id);
    const [moves, attempts, deliveries] = [
      await readMoves(db, ids),
      await db.selectFrom('attempts').selectAll().execute(),
      await db.selectFrom('deliveries').select('task_id').execute(),
    ];
    for (const id of ids) expect(brokenPromises(moves.get(id) ?? [])).toEqual([]);
    expect(told.claims).toEqual([...new Set(told.claims)]);
    // Who is told that his outcome counts is in the ledger, and everything else in it was lost.
    const kept = attempts
      .filter(({ outcome }) => outcome !== 'lost')
      .map(({ task_id, attempt }) => `${task_id} ${attempt}`);
    expect(told.settled.toSorted()).toEqual(kept.toSorted());
    const ends = [...moves.values()]
      .flat()
      .filter(({ became }) => /^(completed|failed|cancelled|expired)$/.test(became));
    expect(deliveries).toHaveLength(ends.length);
  };
  await fc.assert(fc.asyncProperty(scripts, race), { numRuns: 100, endOnFailure: true });
}, 900_000);
