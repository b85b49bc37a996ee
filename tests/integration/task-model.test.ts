import fc from 'fast-check';
import { sql } from 'kysely';
import { beforeAll, expect, it } from 'vitest';
import { acceptMany } from '../../src/db/tasks/accept.ts';
import { expireTasks, promoteTasks, raiseGenerations, rescueTasks } from '../../src/db/tasks/repair.ts';
import { claimTasks, renewLeases, settleTasks, writeProgress } from '../../src/db/tasks/run.ts';
import { signalTasks, wakeLate } from '../../src/db/tasks/signal.ts';
import { cancelTask, retryTask } from '../../src/db/tasks/steer.ts';
import { acceptedModel, ENDINGS, MODEL, type Model } from '../support/task-model.ts';
import {
  brokenPromises,
  manySequences,
  readMoves,
  recordMoves,
  type Sequence,
  STEPS,
  type Step,
} from '../support/task-sequences.ts';
import { newTask, settlement, useTasks } from '../support/tasks.ts';

const SEQUENCES = 5_000;
const SIDE_BY_SIDE = 200;
const ALL = 10_000;
const LEASE_MS = 3_600_000;
const webhook = {
  url: 'http://127.0.0.1/',
  events: ['completed', 'failed', 'cancelled', 'expired'].map((status) => `task.${status}`),
  secret: 'AAAA',
};

const { database } = useTasks();
beforeAll(() => recordMoves(database.db));

/** An item of a step, with the task that it is about. */
type Work = Step['items'][number] & { model: Model };

/** Without those that say the same of the same attempt: a worker does not. */
function once(work: Work[]): Work[] {
  return [...new Map(work.map((one) => [`${one.model.id} ${one.of}`, one])).values()];
}
const first = (work: Work[]) => [...new Map(work.map((one) => [one.model.id, one])).values()];
const idsOf = (work: Work[]) => first(work).map(({ model }) => model.id);
const sorted = (ids: string[]) => ids.toSorted();

/** Each runs one statement for the tasks of all sequences, and compares its answer with what the model says. */
const RUN: Record<Exclude<Step['step'], 'accept'>, (work: Work[], all: Model[]) => Promise<void>> = {
  async claim(work) {
    const claims = work.map(({ model, of }) => ({ id: model.id, generation: model.generation - of }));
    const claimed = await claimTasks(database.db, 'w', LEASE_MS, claims);
    const wanted = work.map(({ model }, n) => (MODEL.claim(model, claims[n]!.generation) ? model.attempt : undefined));
    expect(claimed.map((task) => task?.attempt)).toEqual(wanted);
  },

  async renew(given) {
    const work = once(given);
    const held = work.map(({ model, of }) => ({ id: model.id, attempt: model.attempt - of }));
    const kept = await renewLeases(database.db, LEASE_MS, held);
    const wanted = work.filter(({ model }, n) => MODEL.renew(model, held[n]!.attempt));
    expect(new Map(kept.map(({ id, status }) => [id, status]))).toEqual(
      new Map(wanted.map(({ model }) => [model.id, model.status])),
    );
  },

  async progress(given) {
    const work = once(given);
    const updates = work.map(({ model, of }, n) => ({
      id: model.id,
      attempt: model.attempt - of,
      percent: n % 100,
      message: null,
    }));
    await writeProgress(database.db, updates);
    work.forEach(({ model }, n) => {
      MODEL.progress(model, updates[n]!.attempt, updates[n]!.percent);
    });
  },

  async settle(given) {
    const work = once(given);
    const settlements = work.map(({ model, of, how }) => {
      const attempt = model.attempt - of;
      return settlement(model.id, attempt, {
        ...ENDINGS[how],
        ...(how === 'park' && { park: { awaiting: 'callback', until_ms: null, signals: model.knew } }),
        output: how === 'complete' ? JSON.stringify(`by ${attempt}`) : null,
      });
    });
    const moved = await settleTasks(database.db, settlements);
    const wanted = work.map(({ model, how }, n) => MODEL.settle(model, settlements[n]!.attempt, how));
    expect(moved.map((one) => one !== undefined)).toEqual(wanted);
  },

  async signal(work) {
    const woken = await signalTasks(
      database.db,
      work.map(({ model }) => ({ id: model.id })),
    );
    const wanted = first(work).filter(({ model }) => MODEL.signal(model));
    expect(sorted(woken.map(({ id }) => id))).toEqual(sorted(idsOf(wanted)));
  },

  async late(work) {
    await sql`update tasks set awaiting_until = now() where id = any(${idsOf(work)}::uuid[]) and awaiting is not null`.execute(
      database.db,
    );
    const woken = await wakeLate(database.db, ALL);
    const wanted = first(work).filter(({ model }) => MODEL.late(model));
    expect(sorted(woken.map(({ id }) => id))).toEqual(sorted(idsOf(wanted)));
  },

  async cancel(given) {
    const work = first(given);
    const moved = await Promise.all(work.map(({ model }) => cancelTask(database.db, 'any', model.id, 'user')));
    expect(moved.map((one) => one !== undefined)).toEqual(work.map(({ model }) => MODEL.cancel(model)));
  },

  async retry(given) {
    const work = first(given);
    const moved = await Promise.all(work.map(({ model }) => retryTask(database.db, 'any', model.id)));
    expect(moved.map((one) => one !== undefined)).toEqual(work.map(({ model }) => MODEL.retry(model)));
  },

  async rescue(work) {
    await sql`update tasks set lease_until = now() - interval '1 second'
      where id = any(${idsOf(work)}::uuid[]) and lease_until is not null`.execute(database.db);
    const moved = await rescueTasks(database.db, ALL);
    const wanted = first(work).filter(({ model }) => MODEL.rescue(model));
    expect(sorted(moved.map(({ id }) => id))).toEqual(sorted(idsOf(wanted)));
  },

  async expire(work) {
    const set = (time: string | null) =>
      sql`update tasks set expires_at = ${time}::timestamptz where id = any(${idsOf(work)}::uuid[])`.execute(
        database.db,
      );
    await set('2026-01-01');
    const moved = await expireTasks(database.db, ALL);
    await set(null);
    const wanted = first(work).filter(({ model }) => MODEL.expire(model));
    expect(sorted(moved.map(({ id }) => id))).toEqual(sorted(idsOf(wanted)));
  },

  async fallDue(work) {
    await sql`update tasks set ready_at = now() where id = any(${idsOf(work)}::uuid[])
      and status in ('scheduled', 'pending')`.execute(database.db);
    for (const { model } of first(work)) MODEL.fallDue(model);
  },

  async promote(_work, all) {
    const promoted = await promoteTasks(database.db, ALL);
    expect(promoted).toBe(all.filter((model) => MODEL.promote(model)).length);
  },

  async rebuild(work) {
    const given = work.map(({ model, of }) => ({ id: model.id, generation: model.generation - of }));
    const raised = await raiseGenerations(database.db, 'task', given);
    const wanted = work.filter(({ model }, n) => MODEL.rebuild(model, given[n]!.generation));
    expect(raised).toEqual(new Map(wanted.map(({ model }) => [model.id, model.generation])));
  },
};

async function accept(lists: Array<Array<{ later: boolean }>>): Promise<Model[][]> {
  const submitted = lists.map((list) => ({
    tasks: list.map(({ later }) => newTask(database.userId, { webhook, delay_ms: later ? 3_600_000 : null })),
  }));
  const accepted = await acceptMany(database.db, submitted);
  return accepted.map((own) => {
    if (own.is !== 'stored') throw new Error('a task without a key was not stored');
    return own.rows.map(({ id, status }) => acceptedModel(id, status === 'scheduled'));
  });
}

async function goThrough(sequences: Sequence[]): Promise<void> {
  await sql`truncate tasks, moves cascade`.execute(database.db);
  const worlds = await accept(sequences.map(({ tasks }) => tasks));
  const turns = Math.max(...sequences.map(({ steps }) => steps.length));
  for (let turn = 0; turn < turns; turn++) {
    for (const name of STEPS) {
      const now = sequences.map(({ steps }) => (steps[turn]?.step === name ? (steps[turn]?.items ?? []) : []));
      if (now.every((items) => items.length === 0)) continue;
      if (name === 'accept') {
        const accepted = await accept(now);
        for (const [n, own] of accepted.entries()) worlds[n]?.push(...own);
        continue;
      }
      const work = now.flatMap((items, n) =>
        items.map((item) => ({ ...item, model: worlds[n]![item.task % worlds[n]!.length]! })),
      );
      await RUN[name](work, worlds.flat());
    }
  }
  await compare(worlds, sequences);
}

/** Everything that is stored against everything that the model says. */
async function compare(worlds: Model[][], sequences: Sequence[]): Promise<void> {
  const { db } = database;
  const models = worlds.flat();
  const ids = models.map(({ id }) => id);
  const [rows, attempts, deliveries, moves] = await Promise.all([
    db.selectFrom('tasks').selectAll().execute(),
    db.selectFrom('attempts').selectAll().orderBy('attempt').execute(),
    db.selectFrom('deliveries').select(['task_id', 'event']).execute(),
    readMoves(db, ids),
  ]);
  const [row, ledger, told] = [
    new Map(rows.map((one) => [one.id, one])),
    Map.groupBy(attempts, ({ task_id }) => task_id),
    Map.groupBy(deliveries, ({ task_id }) => task_id),
  ];
  const story = new Map(worlds.flatMap((own, n) => own.map((model) => [model, JSON.stringify(sequences[n])])));
  for (const model of models) {
    const { status, attempt, generation, failures, losses, signals, output, progress, ...more } = row.get(model.id)!;
    const { id, due: _, knew: __, ledger: wanted, ends, ...plain } = model;
    const parked = more.awaiting !== null;
    expect(
      { status, attempt, generation, failures, losses, parked, signals, output, progress },
      story.get(model),
    ).toEqual(plain);
    expect([more.completed_at !== null, more.lease_until !== null]).toEqual([
      ['completed', 'failed', 'cancelled', 'expired'].includes(status),
      ['running', 'cancelling'].includes(status) && !parked,
    ]);
    expect(
      (ledger.get(id) ?? []).map(({ outcome }) => outcome),
      story.get(model),
    ).toEqual(wanted);
    // Every end is told once, and nothing else is.
    expect(told.get(id) ?? []).toHaveLength(ends);
    expect(brokenPromises(moves.get(id) ?? [])).toEqual([]);
  }
}

it(`tasks do what the model says, whatever comes in whatever order, in ${SEQUENCES} sequences`, async () => {
  for (let done = 0; done < SEQUENCES; ) {
    await fc.assert(
      fc.asyncProperty(manySequences(SIDE_BY_SIDE), async (sequences) => {
        await goThrough(sequences);
        done += sequences.length;
      }),
      { numRuns: 10, interruptAfterTimeLimit: 100_000, markInterruptAsFailure: true },
    );
  }
}, 900_000);
