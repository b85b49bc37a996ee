import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import type { Outcome } from '../../src/db/schema.ts';
import { rescueTasks } from '../../src/db/tasks/repair.ts';
import { claimTasks, settleTasks } from '../../src/db/tasks/run.ts';
import { retryTask } from '../../src/db/tasks/steer.ts';
import { LEASE_MS, settlement, useTasks } from '../support/tasks.ts';

const { database, accept, read, loseLease } = useTasks();

/** A task that is running and waits since an hour ago. */
async function oldTask(): Promise<string> {
  const id = await accept();
  await sql`update tasks set ready_at = now() - interval '1 hour' where id = ${id}`.execute(database.db);
  await claim(id);
  return id;
}

async function claim(id: string): Promise<void> {
  const { generation } = await read(id);
  const [task] = await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation }]);
  expect(task?.id).toBe(id);
}

/** Since how long it stands in line, in minutes. */
async function waits(id: string): Promise<number> {
  const { queued_at, ready_at } = await read(id);
  return Math.round((Date.now() - (queued_at ?? ready_at).getTime()) / 60_000);
}

const giveBack = async (id: string, outcome: Extract<Outcome, 'retry' | 'released'>, delay_ms = 0) => {
  const { attempt } = await read(id);
  const [moved] = await settleTasks(database.db, [settlement(id, attempt, { status: 'pending', outcome, delay_ms })]);
  return moved;
};

async function lose(id: string): Promise<void> {
  await loseLease(id);
  expect(await rescueTasks(database.db, 10)).toHaveLength(1);
}

describe('a task that comes back', () => {
  it('keeps its place when it was released, and when it is retried', async () => {
    for (const outcome of ['released', 'retry'] as const) {
      const id = await oldTask();
      const moved = await giveBack(id, outcome);
      expect(await waits(id)).toBe(60);
      expect(moved?.queued_at).toEqual((await read(id)).queued_at);
      expect((await read(id)).ready_at.getTime()).toBeGreaterThan(Date.now() - 60_000);
      await claim(id);
      await giveBack(id, outcome);
      expect(await waits(id)).toBe(60);
    }
  });

  it('keeps its place when its worker was lost, and goes behind its class when a second one was', async () => {
    const id = await oldTask();
    await lose(id);
    expect(await waits(id)).toBe(60);
    await claim(id);
    await lose(id);
    expect(await waits(id)).toBe(0);
  });

  it('stands at the end when a user starts it again', async () => {
    const id = await oldTask();
    await giveBack(id, 'released');
    await claim(id);
    await settleTasks(database.db, [settlement(id, 2)]);
    await retryTask(database.db, 'any', id);
    expect(await waits(id)).toBe(0);
  });
});
