import fc from 'fast-check';
import { expect, it } from 'vitest';
import { hasEnded } from '../../src/db/schema.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { claimLimited } from '../../src/db/tasks/claim-limited.ts';
import { callNext, linesOf } from '../../src/db/tasks/holds.ts';
import { type Claim, settleTasks } from '../../src/db/tasks/run.ts';
import { cancelTask } from '../../src/db/tasks/steer.ts';
import type { Transition } from '../../src/db/tasks/transition.ts';
import { LEASE_MS, newTask, settlement, storeUser, useTasks } from '../support/tasks.ts';

const RUNS = 30;
const MOST = 2;
const LIMITS: Record<string, number> = { one: 1, two: 2, many: 5 };
const OPTIONS = { everybody: MOST, agingMs: 0 };

const step = fc.record({
  does: fc.oneof(
    { weight: 4, arbitrary: fc.constant('accept' as const) },
    { weight: 5, arbitrary: fc.constant('claim' as const) },
    { weight: 5, arbitrary: fc.constant('settle' as const) },
    { weight: 1, arbitrary: fc.constant('cancel' as const) },
  ),
  /** Which of those that could be meant. */
  which: fc.nat(99),
  key: fc.constantFrom(undefined, ...Object.keys(LIMITS)),
  priority: fc.integer({ min: 1, max: 3 }),
  ending: fc.constantFrom('completed', 'retry', 'released'),
});

const { database } = useTasks();

it('no place is given twice and nobody is forgotten, whatever is accepted, claimed, settled and cancelled in whatever order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
      const userId = await storeUser(database.db);
      /** The jobs that are in a lane; the only way to a claim. */
      const jobs: Claim[] = [];
      const rows = () =>
        database.db.selectFrom('tasks').selectAll().where('user_id', '=', userId).orderBy('id').execute();

      async function check(): Promise<void> {
        const running = (await rows()).filter(({ status }) => status === 'running' || status === 'cancelling');
        expect(running.length).toBeLessThanOrEqual(MOST);
        for (const [key, limit] of Object.entries(LIMITS))
          expect(running.filter((task) => task.concurrency_key === key).length).toBeLessThanOrEqual(limit);
      }
      async function claim(claims: Claim[]): Promise<void> {
        const { called } = await claimLimited(database.db, 'w', LEASE_MS, claims, OPTIONS);
        jobs.push(...called);
      }
      /** What a process does after a task was moved; there is no reconciler here. */
      async function follow(moved: Transition | undefined, freed: boolean): Promise<void> {
        if (moved?.status === 'pending') jobs.push(moved);
        if (moved && freed) jobs.push(...(await callNext(database.db, linesOf([moved]), OPTIONS)));
      }
      async function settle(id: string, attempt: number, ending: string): Promise<void> {
        const again = { status: 'pending' as const, output: null, outcome: ending as 'retry' | 'released' };
        const how = ending === 'completed' ? {} : { ...again, new_job: ending === 'released' };
        const [moved] = await settleTasks(database.db, [settlement(id, attempt, how)]);
        await follow(moved, true);
      }

      for (const { does, which, key, priority, ending } of steps) {
        const pick = <T>(all: T[]): T | undefined => all[which % Math.max(all.length, 1)];
        if (does === 'accept') {
          const keyed = key
            ? { concurrency_key: key, concurrency_limit: LIMITS[key], concurrency_policy: 'queue' as const }
            : {};
          jobs.push(...(await acceptTasks(database.db, [newTask(userId, { priority, ...keyed })])));
        } else if (does === 'claim') {
          await claim(jobs.splice(which % (jobs.length + 1), 1 + (which % 3)));
        } else if (does === 'settle') {
          const task = pick((await rows()).filter(({ status }) => status === 'running'));
          if (task) await settle(task.id, task.attempt, ending);
        } else {
          const task = pick((await rows()).filter(({ status }) => !hasEnded(status)));
          const moved = task && (await cancelTask(database.db, 'any', task.id, 'test'));
          if (moved?.status === 'cancelled') await follow(moved, moved.called);
        }
        await check();
      }

      // From here on everything that runs ends, and every job is claimed: so every task has to end.
      for (let round = 0; round < 300; round++) {
        await claim(jobs.splice(0));
        await check();
        const held = (await rows()).filter(({ status }) => status === 'running' || status === 'cancelling');
        for (const { id, attempt } of held) await settle(id, attempt, 'completed');
        if (jobs.length === 0 && held.length === 0) break;
      }
      expect(
        (await rows())
          .filter(({ status }) => !hasEnded(status))
          .map(({ id, status, held_by, called }) => ({ id, status, held_by, called })),
      ).toEqual([]);
    }),
    { numRuns: RUNS },
  );
});
