import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import { acceptTasks, type NewTask } from '../../src/db/tasks/accept.ts';
import { jobId } from '../../src/queues/job-id.ts';
import { turnOf } from '../../src/queues/turn.ts';
import { createWalk } from '../../src/queues/walk.ts';
import { compareRowsAndJobs } from '../support/agreement.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Lanes, openLanes } from '../support/lanes.ts';
import { newTask, storeUser } from '../support/tasks.ts';
import { BACKENDS } from '../support/world.ts';

const AGING_MS = 600_000;
const AGREED = { lacking: [], orphaned: [] };

let database: TestDatabase;
let userId: string;
beforeEach(async () => {
  database = await createTestDatabase();
  userId = await storeUser(database.db);
});
afterEach(() => database.close());

async function acceptMany(count: number, more: (n: number) => Partial<NewTask> = () => ({})): Promise<string[]> {
  const tasks = Array.from({ length: count }, (_, n) => newTask(userId, more(n)));
  return (await acceptTasks(database.db, tasks)).map(({ id }) => id);
}

/** Spreads the tasks over the last hours, no two in the same millisecond, in an order of its own. */
async function spread(): Promise<void> {
  await sql`update tasks t set ready_at = date_trunc('milliseconds', now()) - place * interval '9999 ms'
    from (select id, row_number() over (order by random()) as place from tasks where status = 'pending') as o
    where o.id = t.id`.execute(database.db);
}

/** All waiting rows in the order in which they ought to run. */
async function line() {
  const rows = await database.db.selectFrom('tasks').selectAll().where('status', '=', 'pending').execute();
  const since = (row: (typeof rows)[number]) => (row.queued_at ?? row.ready_at).getTime();
  return rows
    .map((row) => ({ ...row, turn: turnOf(row, AGING_MS) }))
    .sort((a, b) => a.turn - b.turn || since(a) - since(b));
}

async function storeDelivery(taskId: string, more: { status?: 'pending' | 'delivered'; dueInMs?: number } = {}) {
  const { status = 'pending', dueInMs = -10_000 } = more;
  const { rows } = await sql<{ id: string }>`
    insert into deliveries (task_id, task_attempt, event, url, secret, status, ready_at)
    values (${taskId}, 1, 'task.completed', 'http://127.0.0.1/', '', ${status}, now() + ${dueInMs}::int * interval '1 ms')
    returning id`.execute(database.db);
  return rows[0]!.id;
}

describe('the walk over everything that waits', () => {
  it('takes the most urgent first over all lanes, deliveries and what is due later included, and nothing else', async () => {
    await acceptMany(60, (n) => ({ priority: 1 + (n % 10), lane: n % 3 === 0 ? 'llm' : 'system' }));
    await spread();
    const [later] = await acceptMany(1, () => ({ delay_ms: 3_600_000, lane: 'embed' }));
    const [running, ended, foreign] = await acceptMany(3);
    await sql`update tasks set status = 'running', lease_until = now() where id = ${running}`.execute(database.db);
    await sql`update tasks set status = 'expired', completed_at = now() where id = ${ended}`.execute(database.db);
    await sql`update tasks set lane = 'tomorrow' where id = ${foreign}`.execute(database.db);
    const wanted = (await line()).filter(({ id }) => id !== foreign).map(({ id }) => id);
    const deliveries = [await storeDelivery(ended!), await storeDelivery(ended!, { dueInMs: 60_000 })];
    await storeDelivery(ended!, { status: 'delivered' });

    const walk = createWalk(database.db, { agingMs: AGING_MS, quietMs: 0, page: 7 });
    const seen: string[] = [];
    for (let rows = await walk.read(); rows.length > 0; walk.advance(), rows = await walk.read()) {
      expect(rows.length).toBeLessThanOrEqual(7);
      seen.push(...rows.map(({ id }) => id));
    }
    expect(seen.filter((id) => wanted.includes(id))).toEqual(wanted);
    expect(new Set(seen)).toEqual(new Set([...wanted, later, ...deliveries]));
    expect(seen).toHaveLength(wanted.length + 3);
  });

  it('gives the same rows again until they are done with', async () => {
    await acceptMany(5);
    const walk = createWalk(database.db, { agingMs: AGING_MS, quietMs: 0, page: 3 });
    const first = await walk.read();
    expect(await walk.read()).toEqual(first);
    walk.advance();
    const second = await walk.read();
    expect([...first, ...second].map(({ id }) => id).toSorted()).toEqual((await line()).map(({ id }) => id).toSorted());
  });

  it('leaves out what became ready just now', async () => {
    await acceptMany(3);
    const [old] = await acceptMany(1);
    await sql`update tasks set ready_at = now() - interval '1 minute' where id = ${old}`.execute(database.db);
    const walk = createWalk(database.db, { agingMs: AGING_MS, quietMs: 30_000, page: 10 });
    expect((await walk.read()).map(({ id }) => id)).toEqual([old]);
  });
});

describe.each(BACKENDS)('lanes on %s', (kind) => {
  let lanes: Lanes;
  beforeEach(async () => {
    lanes = await openLanes(kind, database, { agingMs: AGING_MS });
  });
  afterEach(() => lanes.close());

  /** The jobs of a lane in the order in which workers take them. */
  const order = async () =>
    (await lanes.backend.queue('system').getJobs(['prioritized'], 0, -1, true)).map(({ id }) => id);

  it('that have lost everything are filled again in order, each class first come first served', async () => {
    await acceptMany(1_200, (n) => ({ priority: 1 + (n % 10) }));
    await spread();
    const { rebuilt } = await lanes.reconciler.runOnce();
    expect(rebuilt).toBe(1_200);
    expect(await order()).toEqual((await line()).map(jobId));
    expect(await compareRowsAndJobs(database.db, lanes.backend)).toEqual(AGREED);
    expect((await lanes.reconciler.runOnce()).rebuilt).toBe(1_200);
  });

  it('get back what is due later, and deliveries, with their delay', async () => {
    const [later] = await acceptMany(1, () => ({ delay_ms: 3_600_000 }));
    const delivery = await storeDelivery(later!, { dueInMs: 3_600_000 });
    await storeDelivery(later!);
    expect((await lanes.reconciler.runOnce()).rebuilt).toBe(3);
    const states = (lane: 'system' | 'webhook') => lanes.backend.queue(lane).getJobCounts('delayed', 'prioritized');
    expect(await states('system')).toEqual({ delayed: 1, prioritized: 0 });
    expect(await states('webhook')).toEqual({ delayed: 1, prioritized: 1 });
    const job = await lanes.backend.queue('webhook').getJob(jobId({ id: delivery, generation: 0 }));
    expect(job?.data).toMatchObject({ kind: 'delivery', id: delivery });
  });

  it('lose the jobs whose row is gone, has ended or stands in another generation, and no other', async () => {
    const [gone, ended, raised, running, waiting, later] = await acceptMany(6, (n) =>
      n === 5 ? { delay_ms: 60_000 } : {},
    );
    const [told, untold] = [await storeDelivery(waiting!), await storeDelivery(waiting!)];
    await lanes.reconciler.runOnce();
    await sql`delete from tasks where id = ${gone}`.execute(database.db);
    await sql`update tasks set status = 'expired', completed_at = now() where id = ${ended}`.execute(database.db);
    await sql`update tasks set generation = 1 where id = ${raised}`.execute(database.db);
    await sql`update tasks set status = 'running', lease_until = now() + interval '1 minute' where id = ${running}`.execute(
      database.db,
    );
    await sql`update deliveries set status = 'delivered', completed_at = now() where id = ${told}`.execute(database.db);
    expect((await compareRowsAndJobs(database.db, lanes.backend)).orphaned.toSorted()).toEqual(
      [gone, ended, raised, told].map((id) => `${id}_g0`).toSorted(),
    );

    expect(await lanes.reconciler.runOnce()).toMatchObject({ orphans: 4, rebuilt: 9 });
    expect(await compareRowsAndJobs(database.db, lanes.backend)).toEqual(AGREED);
    const left = (await lanes.backend.queue('system').getJobs(['prioritized', 'delayed'])).map(({ id }) => id);
    expect(left.toSorted()).toEqual([`${raised}_g1`, `${running}_g0`, `${waiting}_g0`, `${later}_g0`].toSorted());
    expect((await lanes.backend.queue('webhook').getJobs(['prioritized'])).map(({ id }) => id)).toEqual([
      `${untold}_g0`,
    ]);
  });

  it('keep jobs that are none of ours', async () => {
    await lanes.backend.queue('system').add('of somebody else', {} as never, { jobId: 'their-own', priority: 3 });
    expect((await lanes.reconciler.runOnce()).orphans).toBe(0);
    expect(await order()).toEqual(['their-own']);
  });

  it('tell what became of jobs', async () => {
    const [waiting, later] = await acceptMany(2, (n) => (n === 1 ? { delay_ms: 60_000 } : {}));
    await lanes.reconciler.runOnce();
    const ids = [waiting!, newId(), later!].map((id) => jobId({ id, generation: 0 }));
    expect(await lanes.backend.jobStates('system', ids)).toEqual(['live', 'missing', 'live']);
    expect(await lanes.backend.jobStates('embed', ids)).toEqual(['missing', 'missing', 'missing']);
  });

  it('let nobody who waits be overtaken for ever: after its spans the last class is first', async () => {
    const [patient, almost] = await acceptMany(2, () => ({ priority: 10 }));
    await sql`update tasks set ready_at = now() - interval '96 minutes' where id = ${patient}`.execute(database.db);
    await sql`update tasks set ready_at = now() - interval '84 minutes' where id = ${almost}`.execute(database.db);
    const urgent = await acceptTasks(database.db, [newTask(userId, { priority: 1 })]);
    await lanes.dispatcher.enqueue(urgent.map((row) => ({ ...row, kind: 'task' as const })));
    await lanes.reconciler.runOnce();
    expect(await order()).toEqual([patient, urgent[0]?.id, almost].map((id) => `${id}_g0`));
  });
});
