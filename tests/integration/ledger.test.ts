import { expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { claimTasks, type Settlement, settleTasks, TURNED_AWAY_KEPT } from '../../src/db/tasks/run.ts';
import { LEASE_MS, settlement, useTasks } from '../support/tasks.ts';

const { database, accept } = useTasks();

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
