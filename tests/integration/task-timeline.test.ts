import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { forgetPayloads } from '../../src/db/tasks/forget.ts';
import { rescueTasks } from '../../src/db/tasks/repair.ts';
import { claimTasks, settleTasks, writeProgress } from '../../src/db/tasks/run.ts';
import { signalTasks } from '../../src/db/tasks/signal.ts';
import { retryTask } from '../../src/db/tasks/steer.ts';
import { lookAtTasks } from '../../src/db/tasks/timeline.ts';
import { LEASE_MS, settlement, useTasks } from '../support/tasks.ts';

const { database, accept, running, loseLease } = useTasks();

const look = async (id: string, after: string | null = null, limit = 200) =>
  (await lookAtTasks(database.db, [{ id, after }], limit))[0]!;
const line = (id: string, message: string, attempt = 1) => ({
  ...{ id, attempt, type: 'log' as const },
  data: { level: 'info', message },
});

describe('what is derived of a task', () => {
  it('is the same with each lost worker more, until the last', async () => {
    const id = await running();
    for (const generation of [1, 2]) {
      await loseLease(id);
      await rescueTasks(database.db, 10);
      await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation }]);
    }
    const before = (await look(id)).events;
    await loseLease(id);
    await rescueTasks(database.db, 10);
    const { events, status, endId } = await look(id);
    expect(events.slice(0, before.length)).toEqual(before);
    expect(events.map(({ type, attempt }) => `${type} ${attempt}`)).toEqual([
      ...['accepted 0', 'queued 0', 'started 1', 'attempt_ended 1', 'started 2', 'attempt_ended 2', 'started 3'],
      ...['attempt_ended 3', 'ended 3'],
    ]);
    expect(events.filter(({ type }) => type === 'attempt_ended').map((event) => event.status)).toEqual([
      'pending',
      'pending',
      'failed',
    ]);
    expect([status, endId]).toEqual(['failed', events.at(-1)?.id]);
    expect(events.at(-1)?.data.error?.code).toBe('poison');
  });

  it('says that one goes on which was signalled while it ran after its attempt has ended', async () => {
    const id = await running();
    await signalTasks(database.db, [{ id }]);
    const park = { awaiting: 'callback', until_ms: null, signals: 0 };
    await settleTasks(database.db, [
      settlement(id, 1, { status: 'running', outcome: 'parked', output: null, new_job: false, park }),
    ]);
    await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 1 }]);
    expect((await look(id)).events.map(({ type, status }) => `${type} ${status}`)).toEqual([
      ...['accepted pending', 'queued pending', 'started running', 'attempt_ended running', 'resumed pending'],
      'started running',
    ]);
  });

  it('keeps lines in the order in which they were said, of the present attempt alone', async () => {
    const id = await running();
    const said = Array.from({ length: 40 }, (_, n) => line(id, `line ${n}`));
    await writeProgress(database.db, [{ id, attempt: 1, percent: 5, message: null }], said.slice(0, 20));
    await writeProgress(database.db, [], [...said.slice(20), line(id, 'of another attempt', 2)]);
    await settleTasks(database.db, [settlement(id, 1)]);
    await writeProgress(database.db, [], [line(id, 'too late')]);
    const { events } = await look(id);
    expect(events.filter(({ type }) => type === 'log').map(({ data }) => data.message)).toEqual(
      said.map(({ data }) => data.message),
    );
    expect(events.at(-1)?.type).toBe('ended');
  });

  it('goes on after any of its events without a gap, many tasks at once', async () => {
    const id = await running();
    await writeProgress(database.db, [], [line(id, 'a'), line(id, 'b')]);
    await settleTasks(database.db, [settlement(id, 1)]);
    await retryTask(database.db, 'any', id, 'ada');
    const { events } = await look(id);
    expect(events).toHaveLength(8);
    const asked = [null, ...events.map((event) => event.id)].map((after) => ({ id, after }));
    const gone = { id: '00000000-0000-7000-8000-000000000000', after: null };
    const looks = await lookAtTasks(database.db, [...asked, gone], 3);
    expect(looks.at(-1)).toBeUndefined();
    for (const [index, seen] of looks.slice(0, -1).entries())
      expect(seen?.events).toEqual(events.slice(index, index + 3));
  });

  it('has no words of the task any more once its payload was deleted', async () => {
    const id = await running();
    await writeProgress(database.db, [], [line(id, 'a secret')]);
    const error = { code: 'model_error', message: 'a secret', retryable: false };
    const failure = { status: 'failed', outcome: 'failed', output: null, error } as const;
    await settleTasks(database.db, [settlement(id, 1, failure)]);
    await retryTask(database.db, 'any', id);
    await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 1 }]);
    await settleTasks(database.db, [settlement(id, 2, failure)]);
    expect(JSON.stringify(await look(id))).toContain('a secret');
    await forgetPayloads(database.db, 'any', [id]);
    const after = await look(id);
    expect(JSON.stringify(after)).not.toContain('a secret');
    expect(after.events.filter(({ data }) => data.error?.code === 'model_error')).toHaveLength(4);
  });

  it('calls a task queued when it was due, unless it had ended by then', async () => {
    const id = await accept({ delay_ms: 60_000 });
    expect((await look(id)).events.map(({ type }) => type)).toEqual(['accepted']);
    // A minute later.
    await sql`update tasks set created_at = created_at - interval '1 minute', ready_at = ready_at - interval '1 minute',
      scheduled_for = scheduled_for - interval '1 minute' where id = ${id}`.execute(database.db);
    const due = (await look(id)).events;
    expect(due.map(({ type }) => type)).toEqual(['accepted', 'queued']);
    expect((due[1]?.at.getTime() ?? 0) - (due[0]?.at.getTime() ?? 0)).toBe(60_000);
    // A moment before it is due is not too early for a worker.
    const early = await accept({ delay_ms: 900 });
    await claimTasks(database.db, 'w', LEASE_MS, [{ id: early, generation: 0 }]);
    expect((await look(early)).events.map(({ type }) => type)).toEqual(['accepted', 'queued', 'started']);
  });
});
