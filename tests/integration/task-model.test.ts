import fc from 'fast-check';
import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { ENDED, type Status } from '../../src/db/schema.ts';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { expireTasks, KILL_BUDGET, rescueTasks } from '../../src/db/tasks/repair.ts';
import { claimTasks, renewLeases, settleTasks } from '../../src/db/tasks/run.ts';
import { cancelTask, retryTask } from '../../src/db/tasks/steer.ts';
import { LEASE_MS, settlement, useTasks } from '../support/tasks.ts';

const { database, accept, read, loseLease, deliveriesOf } = useTasks();

/** What a task should be after the same steps, said in plain words. */
interface Model {
  status: Status;
  attempt: number;
  generation: number;
  losses: number;
  output: string | null;
  ledger: string[];
  ends: number;
}

type Step = { step: string; of?: number };

/** `of` counts back from the newest attempt or generation: 0 is the present one, more is a zombie's. */
const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ step: fc.constant('claim'), of: fc.nat(1) }),
  fc.record({ step: fc.constantFrom('complete', 'complete', 'fail', 'retryLater', 'release', 'renew'), of: fc.nat(2) }),
  fc.record({ step: fc.constantFrom('cancel', 'retry', 'rescue', 'expire') }),
);

function end(model: Model, status: Status): void {
  model.status = status;
  model.ends++;
}

function settleModel(model: Model, status: Status, outcome: string, attempt: number): boolean {
  if (attempt !== model.attempt || !['running', 'cancelling'].includes(model.status)) return false;
  const cancelled = model.status === 'cancelling';
  model.ledger.push(cancelled ? 'cancelled' : outcome);
  if (cancelled) end(model, 'cancelled');
  else if (status === 'pending') model.status = 'pending';
  else end(model, status);
  if (!cancelled && outcome === 'released') model.generation++;
  model.output = status === 'completed' && !cancelled ? `by ${attempt}` : null;
  return true;
}

const SETTLES = {
  complete: ['completed', 'completed'],
  fail: ['failed', 'failed'],
  retryLater: ['pending', 'retry'],
  release: ['pending', 'released'],
} as const;

async function apply(id: string, model: Model, { step, of = 0 }: Step): Promise<void> {
  const { db } = database;
  const attempt = model.attempt - of;
  switch (step) {
    case 'claim': {
      const [task] = await claimTasks(db, 'w', LEASE_MS, [{ id, generation: model.generation - of }]);
      const free = of === 0 && model.status === 'pending';
      expect(task?.attempt).toBe(free ? ++model.attempt : undefined);
      if (free) model.status = 'running';
      return;
    }
    case 'renew': {
      const kept = await renewLeases(db, LEASE_MS, [{ id, attempt }]);
      expect(kept.length > 0).toBe(of === 0 && ['running', 'cancelling'].includes(model.status));
      return;
    }
    case 'cancel': {
      const moved = await cancelTask(db, 'any', id, 'user');
      expect(moved !== undefined).toBe(['pending', 'running'].includes(model.status));
      if (model.status === 'pending') end(model, 'cancelled');
      else if (model.status === 'running') model.status = 'cancelling';
      return;
    }
    case 'retry': {
      const ended = (ENDED as readonly Status[]).includes(model.status);
      expect((await retryTask(db, 'any', id)) !== undefined).toBe(ended);
      if (ended) Object.assign(model, { status: 'pending', generation: model.generation + 1, losses: 0, output: null });
      return;
    }
    case 'rescue': {
      const held = ['running', 'cancelling'].includes(model.status);
      if (held) await loseLease(id);
      expect(await rescueTasks(db, 10)).toHaveLength(held ? 1 : 0);
      if (!held) return;
      model.ledger.push('lost');
      model.losses++;
      model.generation++;
      if (model.status === 'cancelling') end(model, 'cancelled');
      else if (model.losses >= KILL_BUDGET) end(model, 'failed');
      else model.status = 'pending';
      return;
    }
    case 'expire': {
      await sql`update tasks set expires_at = now() where id = ${id}`.execute(db);
      await expireTasks(db, 10);
      await sql`update tasks set expires_at = null where id = ${id}`.execute(db);
      if (model.status === 'pending') end(model, 'expired');
      else if (model.status === 'running') model.status = 'cancelling';
      return;
    }
    default: {
      const [status, outcome] = SETTLES[step as keyof typeof SETTLES];
      const output = status === 'completed' ? JSON.stringify(`by ${attempt}`) : null;
      const given = settlement(id, attempt, { status, outcome, output, new_job: outcome === 'released' });
      const [moved] = await settleTasks(db, [given]);
      expect(moved !== undefined).toBe(settleModel(model, status, outcome, attempt));
    }
  }
}

it('a task does what the model says, whatever comes in whatever order', async () => {
  const events = ENDED.map((status) => `task.${status}`);
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 5, maxLength: 25 }), async (sequence) => {
      await sql`truncate tasks cascade`.execute(database.db);
      const id = await accept({ webhook: { url: 'http://127.0.0.1/', events, secret: 'AAAA' } });
      const model: Model = {
        status: 'pending',
        attempt: 0,
        generation: 0,
        losses: 0,
        output: null,
        ledger: [],
        ends: 0,
      };
      for (const step of sequence) {
        await apply(id, model, step);
        const { status, attempt, generation, losses, output, lease_until, completed_at } = await read(id);
        const { ledger: _, ends: __, ...plain } = model;
        expect({ status, attempt, generation, losses, output }).toEqual(plain);
        expect(completed_at !== null).toBe((ENDED as readonly Status[]).includes(status));
        if (status === 'running') expect(lease_until).not.toBeNull();
      }
      const ledger = await listAttempts(database.db, id);
      expect(ledger.map(({ outcome }) => outcome)).toEqual(model.ledger);
      expect(new Set(ledger.map(({ attempt }) => attempt)).size).toBe(ledger.length);
      // Every end is told once, and nothing else is.
      expect(await deliveriesOf(id)).toHaveLength(model.ends);
    }),
    { numRuns: 200, interruptAfterTimeLimit: 40_000, markInterruptAsFailure: true },
  );
}, 60_000);
