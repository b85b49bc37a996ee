import { expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { claimTasks, type Settlement, settleTasks, TURNED_AWAY_KEPT } from '../../src/db/tasks/run.ts';
import { signalTasks } from '../../src/db/tasks/signal.ts';
import { LEASE_MS, settlement, useTasks } from '../support/tasks.ts';

const { database, accept, read } = useTasks();

const WAITS = { status: 'pending', output: null } as const;
const away = { code: 'upstream_unavailable', message: 'away', retryable: true };

async function attempt(id: string, more: Partial<Settlement>): Promise<void> {
  const [task] = await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }]);
  const [moved] = await settleTasks(database.db, [settlement(id, task?.attempt ?? 0, more)]);
  expect(moved?.id).toBe(id);
}

it('a long outage leaves the last 50 attempts that were turned away in the ledger, and every other attempt', async () => {
  const [id, other] = [await accept(), await accept()];
  for (let n = 0; n < 3; n++) await attempt(other, { ...WAITS, outcome: 'released', error: away });
  await attempt(id, { ...WAITS, outcome: 'retry', error: away });
  for (let n = 0; n < 60; n++) await attempt(id, { ...WAITS, outcome: 'released', error: away });
  await attempt(id, { ...WAITS, outcome: 'retry', error: away });
  for (let n = 0; n < 60; n++) await attempt(id, { ...WAITS, outcome: 'released', error: away });
  await attempt(id, {});
  const ledger = await listAttempts(database.db, id);
  const numbers = (outcome: string) => ledger.filter((one) => one.outcome === outcome).map((one) => one.attempt);
  expect(numbers('retry')).toEqual([1, 62]);
  expect(numbers('completed')).toEqual([123]);
  expect(TURNED_AWAY_KEPT).toBe(50);
  expect(numbers('released')).toEqual(Array.from({ length: 50 }, (_, n) => 73 + n));
  expect(await listAttempts(database.db, other)).toHaveLength(3);
});

it('of what was looked at again and again, too, the last 50 attempts are kept, and when it was woken', async () => {
  const id = await accept();
  const [task] = await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }]);
  const park = { awaiting: 'callback', until_ms: null, signals: 0 };
  const parked = { status: 'running', outcome: 'parked', output: null, park } as const;
  await settleTasks(database.db, [settlement(id, task?.attempt ?? 0, parked)]);
  for (let n = 1; n <= 60; n++) {
    const [woken] = await signalTasks(database.db, [{ id }]);
    const [again] = await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: woken?.generation ?? 0 }]);
    const signals = again?.signals ?? 0;
    await settleTasks(database.db, [settlement(id, again?.attempt ?? 0, { ...parked, park: { ...park, signals } })]);
  }
  const ledger = await listAttempts(database.db, id);
  expect(ledger.map(({ attempt }) => attempt)).toEqual(Array.from({ length: 50 }, (_, n) => 12 + n));
  const events = await database.db.selectFrom('task_events').selectAll().where('task_id', '=', id).execute();
  expect(events.map(({ attempt }) => attempt)).toEqual(Array.from({ length: 49 }, (_, n) => 12 + n));
  expect(await read(id)).toMatchObject({ attempt: 61, parkings: 61 });
});
