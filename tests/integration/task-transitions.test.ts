import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { ENDED, STATUSES, type Status } from '../../src/db/schema.ts';
import { expireTasks, rescueTasks } from '../../src/db/tasks/repair.ts';
import { claimTasks, settleTasks } from '../../src/db/tasks/run.ts';
import { cancelTask, retryTask } from '../../src/db/tasks/steer.ts';
import { LEASE_MS, settlement, storeUser, useTasks } from '../support/tasks.ts';

const { database, accept, read } = useTasks();

/** A task put into a status by hand, its lease and its deadline over. */
async function taskIn(status: Status): Promise<string> {
  const id = await accept();
  const ended = (ENDED as readonly Status[]).includes(status);
  await sql`update tasks set status = ${status}, attempt = 1, failures = 2, expires_at = now() - interval '1 s',
    output = '{}', error = '{}', lease_until = now() - interval '1 s',
    completed_at = case when ${ended} then now() end where id = ${id}`.execute(database.db);
  return id;
}

const ACTIONS = {
  cancel: (id: string) => cancelTask(database.db, 'any', id, 'user'),
  retry: (id: string) => retryTask(database.db, 'any', id),
  expire: () => expireTasks(database.db, 10),
  rescue: () => rescueTasks(database.db, 10),
  settle: (id: string) => settleTasks(database.db, [settlement(id, 1)]),
  claim: (id: string) => claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 0 }]),
};

/** Every status × every action; what is not named stays where it is. */
const MOVES: Record<keyof typeof ACTIONS, Partial<Record<Status, Status>>> = {
  cancel: { scheduled: 'cancelled', pending: 'cancelled', running: 'cancelling' },
  retry: { completed: 'pending', failed: 'pending', cancelled: 'pending', expired: 'pending' },
  // These tasks were started once.
  expire: { scheduled: 'cancelled', pending: 'cancelled', running: 'cancelling' },
  rescue: { running: 'pending', cancelling: 'cancelled' },
  settle: { running: 'completed', cancelling: 'cancelled' },
  // The deadline of these tasks is over.
  claim: {},
};

describe.each(Object.keys(ACTIONS) as Array<keyof typeof ACTIONS>)('%s', (action) => {
  it.each(STATUSES)('of a task that is %s leads where the state machine says', async (status) => {
    const id = await taskIn(status);
    const before = await read(id);
    await ACTIONS[action](id);
    const wanted = MOVES[action][status];
    const after = await read(id);
    expect(after.status).toBe(wanted ?? status);
    if (wanted === undefined) expect(after).toEqual(before);
  });
});

describe('a retry', () => {
  it('starts with a fresh budget, without deadline, in a new generation', async () => {
    const id = await taskIn('failed');
    const moved = await retryTask(database.db, 'any', id);
    expect(moved).toMatchObject({ id, status: 'pending', generation: 1, attempt: 1 });
    expect(await read(id)).toMatchObject({ failures: 0, losses: 0, output: null, error: null, expires_at: null });
    const [claimed] = await claimTasks(database.db, 'w', LEASE_MS, [{ id, generation: 1 }]);
    expect(claimed?.attempt).toBe(2);
  });
});

describe('a stranger', () => {
  it('can neither cancel nor retry what is not theirs', async () => {
    const [waiting, ended] = [await taskIn('pending'), await taskIn('failed')];
    const stranger = { userId: await storeUser(database.db) };
    expect(await cancelTask(database.db, stranger, waiting, 'user')).toBeUndefined();
    expect(await retryTask(database.db, stranger, ended)).toBeUndefined();
    expect([(await read(waiting)).status, (await read(ended)).status]).toEqual(['pending', 'failed']);
  });
});
