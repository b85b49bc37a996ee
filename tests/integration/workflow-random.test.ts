import { afterAll, beforeAll, expect, it } from 'vitest';
import { retryTask } from '../../src/db/tasks/steer.ts';
import { useTasks } from '../support/tasks.ts';
import { createDriver, type Driver } from '../support/workflow-driver.ts';
import { endsOf, type Random, randomFrom, type Sample, sampleOf } from '../support/workflow-model.ts';

const { database, accept, read } = useTasks();
let driver: Driver;
beforeAll(() => {
  driver = createDriver(database.db);
});
afterAll(() => driver.close());

const SEEDS = 12;

/** Lets workers and their deaths take turns by chance, until the workflow has ended. */
async function play(id: string, { failing }: Pick<Sample, 'failing'>, random: Random): Promise<void> {
  for (let turn = 0; turn < 500; turn++) {
    const waiting = await driver.waiting();
    const task = waiting[Math.floor(random() * waiting.length)];
    if (task) {
      // Two losses at most, or it would count as what kills workers.
      const lost = random() < 0.15 && (await read(task.id)).losses < 2;
      const fails = failing.has(task.title ?? '');
      await driver.work(task, lost ? 'lost' : fails ? 'failed' : { output: task.input });
      // Now and then whoever should have moved it on is dead.
      if (random() < 0.5) await driver.engine.moveOn(id);
    } else if ((await driver.engine.sweep(0)) === 0 && (await read(id)).completed_at) return;
  }
  throw new Error('it did not come to its end');
}

const partsOf = (id: string) =>
  database.db.selectFrom('tasks').selectAll().where('parent_id', '=', id).orderBy('id').execute();

it.each(Array.from({ length: SEEDS }, (_, n) => n))(
  'workflow %i ends as it should, whatever dies, and each step is done once',
  async (seed) => {
    const random = randomFrom(seed + 1);
    const sample = sampleOf(random);
    const steps = sample.steps.map(({ only: _, ...step }) => step);
    const id = await accept({ type: 'workflow', input: { steps, input: { word: 'hi' } } });
    await play(id, sample, random);

    const expected = endsOf(sample);
    const whole = await read(id);
    const rows = await driver.steps(id);
    const parts = await partsOf(id);
    const titles = parts.map(({ title }) => title);
    expect(new Set(titles).size).toBe(titles.length);
    expect(parts.every(({ completed_at }) => completed_at !== null)).toBe(true);
    const steppers = rows.filter(({ item }) => item < 0);
    const ofStep = new Map(steppers.map((row) => [row.step, row]));
    for (const { id: step, needs } of steps) {
      const row = ofStep.get(step);
      if (!row?.started_at) continue;
      for (const need of needs)
        expect(ofStep.get(need)?.ended_at?.getTime()).toBeLessThanOrEqual(row.started_at.getTime());
    }
    if (expected) {
      expect([whole.status, whole.error?.message]).toEqual(['completed', undefined]);
      expect(new Map(steppers.map(({ step, status }) => [step, status]))).toEqual(expected);
      return;
    }
    expect([whole.status, whole.error?.code]).toEqual(['failed', 'step_failed']);
    const undone = rows.filter(({ undo }) => undo !== null).sort((a, b) => Number(b.ended_at) - Number(a.ended_at));
    const asked = sample.steps.some(
      ({ id: step, on_failure }) =>
        on_failure === 'compensate' && rows.some((row) => row.step === step && row.status === 'failed'),
    );
    const undoing = parts.filter(({ title }) => title?.startsWith('undo '));
    const names = undone.map(({ step, item }) => `undo ${item < 0 ? step : `${step}[${item}]`}`);
    expect(undoing.map(({ title }) => title)).toEqual(asked ? names : []);

    // Nothing fails any more: what completed and was not undone stays, and comes after nothing that is done again.
    const kept = new Set(
      steppers.filter(({ status }) => status === 'completed' || status === 'skipped').map(({ step }) => step),
    );
    for (const { step, undo } of rows) if (asked && undo !== null) kept.delete(step);
    for (const { id: step, needs } of steps) if (needs.some((need) => !kept.has(need))) kept.delete(step);
    await retryTask(database.db, 'any', id);
    await play(id, { failing: new Set() }, random);
    expect((await read(id)).status).toBe('completed');
    const again = await driver.steps(id);
    expect(new Map(again.filter(({ item }) => item < 0).map(({ step, status }) => [step, status]))).toEqual(
      endsOf({ ...sample, failing: new Set() }),
    );
    // What was undone was done again.
    expect(again.filter(({ undo }) => undo !== null && undo !== 'ready')).toEqual([]);
    for (const row of again.filter(({ step }) => kept.has(step)))
      expect(row).toEqual(rows.find(({ step, item }) => step === row.step && item === row.item));
  },
);
