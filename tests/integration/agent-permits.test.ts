import { sql } from 'kysely';
import { beforeEach, expect, test } from 'vitest';
import { reportOutcome } from '../../src/agents/health.ts';
import {
  endKept,
  keepPermit,
  type NoPermit,
  type Permit,
  releasePermit,
  takePermit,
  turnedAway,
} from '../../src/agents/permits.ts';
import { newId } from '../../src/db/ids.ts';
import { prune } from '../../src/db/prune.ts';
import { claimTasks, settleTasks } from '../../src/db/tasks/run.ts';
import { signalTasks } from '../../src/db/tasks/signal.ts';
import { cancelTask, retryTask } from '../../src/db/tasks/steer.ts';
import { createPlaces } from '../../src/workers/tools/agents/places.ts';
import { LEASE_MS, settlement, useTasks } from '../support/tasks.ts';

const { database, running, loseLease } = useTasks();
const ANY = { concurrency: null, perMinute: null };
let agent: string;
beforeEach(async () => {
  agent = newId();
  await database.db
    .insertInto('agents')
    .values({ id: agent, name: agent, type: 'http', endpoint: 'http://127.0.0.1:9', capabilities: '[]', config: '{}' })
    .execute();
});

const take = (taskId: string, limits: Partial<typeof ANY> | { concurrency?: number; perMinute?: number } = {}) =>
  takePermit(database.db, { agentId: agent, taskId, attempt: 1, limits: { ...ANY, ...limits } });
const permitOf = (given: { permit: Permit } | NoPermit) => (given as { permit: Permit }).permit;
const park = (id: string, attempt = 1) => {
  const park = { awaiting: 'callback', until_ms: null, signals: 0 };
  return settleTasks(database.db, [
    settlement(id, attempt, { status: 'running', outcome: 'parked', output: null, park }),
  ]);
};
/** A task that was parked and has a place. */
async function keeping(limits?: Parameters<typeof take>[1]): Promise<string> {
  const id = await running();
  await keepPermit(database.db, permitOf(await take(id, limits)));
  await park(id);
  return id;
}
const claim = (id: string, generation: number) => claimTasks(database.db, 'w', LEASE_MS, [{ id, generation }]);
const log = { warn: () => {} } as never;
const placesOf = (id: string, attempt: number) =>
  createPlaces({ task: { id, attempt } } as never, { db: database.db, log });
const agentOf = (id: string, config: object = {}) =>
  ({ id, name: id, config: { health: { interval_seconds: 30 }, ...config } }) as never;
const fail = (times: number) =>
  Array.fromAsync(Array(times), () =>
    reportOutcome(database.db, agent, { source: 'call', latencyMs: 5, failure: 'It broke.' }, 30_000),
  );

test('as many attempts get a place as there are, however many ask at once, and each that ends makes room for one', async () => {
  const tasks = await Promise.all(Array.from({ length: 12 }, () => running()));
  const asked = await Promise.all(tasks.map((id) => take(id, { concurrency: 3 })));
  const given = asked.filter((one) => 'permit' in one);
  expect(given).toHaveLength(3);
  const away = asked.filter((one) => 'why' in one);
  expect(new Set(away.map(({ why }) => why))).toEqual(new Set(['full']));

  await releasePermit(database.db, permitOf(given[0]!));
  await releasePermit(database.db, permitOf(given[0]!));
  expect(await take(await running(), { concurrency: 3 })).toHaveProperty('permit');
  expect(await take(await running(), { concurrency: 3 })).toMatchObject({ why: 'full' });
});

test('those who find none are told to come back one after the other, and of too many each at a time of its own', async () => {
  await take(await running(), { concurrency: 1 });
  await sql`update agent_health set call_p50_ms = 2000`.execute(database.db);
  const next = await running();
  const laterMs: number[] = [];
  const began = performance.now();
  for (let i = 0; i < 20; i++) {
    laterMs.push(((await take(next, { concurrency: 1 })) as NoPermit).laterMs);
    if (i >= 14) continue;
    expect(laterMs[i]).toBeGreaterThan(2_000 * (i + 1) - (performance.now() - began) - 10);
    expect(laterMs[i]).toBeLessThanOrEqual(2_000 * (i + 1));
  }
  const others = laterMs.slice(15);
  expect(Math.min(...others)).toBeGreaterThanOrEqual(15_000);
  expect(Math.max(...others)).toBeLessThanOrEqual(30_000);
  expect(new Set(others).size).toBe(5);
});

test('a task that calls an agent by way of another one does not wait for itself', async () => {
  const [task, other] = [await running(), await running()];
  await take(task, { concurrency: 1 });
  expect(await take(task, { concurrency: 1 })).toHaveProperty('permit');
  expect(await take(other, { concurrency: 1 })).toMatchObject({ why: 'full' });
});

test('what is kept is taken while the task is parked, until it is given back or the task ends', async () => {
  const { db } = database;
  const [first, second, next] = [await keeping(), await keeping(), await running()];
  expect(await take(next, { concurrency: 2 })).toMatchObject({ why: 'full' });
  expect(await take(next, { concurrency: 3 })).toHaveProperty('permit');
  await cancelTask(db, 'any', first, 'user');
  expect(await take(await running(), { concurrency: 3 })).toHaveProperty('permit');
  expect(await take(await running(), { concurrency: 3 })).toMatchObject({ why: 'full' });
  // The task is resumed, and may be parked for something else.
  await endKept(db, agent, second);
  expect(await take(await running(), { concurrency: 3 })).toHaveProperty('permit');
});

test('what is kept stays taken while the task waits in line and runs again, but not when it begins another life', async () => {
  const { db } = database;
  const [id, other] = [await keeping(), await running()];
  await signalTasks(db, [{ id }]);
  expect(await take(other, { concurrency: 1 })).toMatchObject({ why: 'full' });
  await claim(id, 1);
  expect(await take(other, { concurrency: 1 })).toMatchObject({ why: 'full' });
  await settleTasks(db, [settlement(id, 2)]);
  await retryTask(db, 'any', id);
  expect(await take(other, { concurrency: 1 })).toHaveProperty('permit');
});

test('a task that takes another place has not the one that it kept besides', async () => {
  const { db } = database;
  const [id, other] = [await keeping(), await running()];
  await signalTasks(db, [{ id }]);
  await claim(id, 1);
  await takePermit(db, { agentId: agent, taskId: id, attempt: 2, limits: ANY });
  expect(await take(other, { concurrency: 2 })).toHaveProperty('permit');
  expect(await take(await running(), { concurrency: 2 })).toMatchObject({ why: 'full' });
});

test('a call that is awaited does not keep an agent on trial, and that it answers ends the trial', async () => {
  const { db } = database;
  const [id, other, third] = [await keeping(), await running(), await running()];
  await fail(5);
  await sql`update agent_health set opened_until = now()`.execute(db);
  expect(await take(other, { concurrency: 1 })).toMatchObject({ why: 'full' });
  expect(await take(other, { concurrency: 5 })).toHaveProperty('permit');
  expect(await take(third, { concurrency: 5 })).toMatchObject({ why: 'full' });
  await signalTasks(db, [{ id }]);
  await claim(id, 1);
  await sql`update agent_calls set at = at - interval '3 seconds' where kept`.execute(db);
  expect(await placesOf(id, 2).awaiting(agentOf(agent), async () => 'back')).toBe('back');
  expect(await take(third, { concurrency: 5 })).toHaveProperty('permit');
  const health = await db.selectFrom('agent_health').selectAll().executeTakeFirstOrThrow();
  expect(health).toMatchObject({ openings: 0, opened_until: null });
  expect(health.call_p50_ms).toBeGreaterThanOrEqual(3_000);
});

test('who is turned away by several agents is expected back by the one that has room first', async () => {
  const { db } = database;
  const slow = newId();
  await sql`insert into agents (id, name, type, endpoint, capabilities, config)
    select ${slow}, 'slow', type, endpoint, capabilities, config from agents`.execute(db);
  for (const [agentId, ms] of [
    [slow, 9_000],
    [agent, 2_000],
  ] as const) {
    await takePermit(db, { agentId, taskId: await running(), attempt: 1, limits: ANY });
    await sql`update agent_health set call_p50_ms = ${ms}, appointed_at = now() where agent_id = ${agentId}`.execute(
      db,
    );
  }
  const appointed = async () => {
    const rows = await db.selectFrom('agent_health').select(['agent_id', 'appointed_at']).execute();
    return new Map(rows.map((row) => [row.agent_id, row.appointed_at.getTime()]));
  };
  const before = await appointed();
  const candidates = [slow, agent].map((id) => ({ agent: agentOf(id, { max_concurrency: 1 }) }));
  await expect(placesOf(await running(), 1).enter(candidates)).rejects.toMatchObject({ code: 'agent_busy' });
  const after = await appointed();
  expect(after.get(slow)).toBe(before.get(slow));
  expect(after.get(agent)).toBeGreaterThan(before.get(agent)!);
});

test('the place of a worker that died is free when its lease is over', async () => {
  const [lost, next] = [await running(), await running()];
  await take(lost, { concurrency: 1 });
  expect(await take(next, { concurrency: 1 })).toMatchObject({ why: 'full' });
  await loseLease(lost);
  expect(await take(next, { concurrency: 1 })).toHaveProperty('permit');
});

test('the place of an attempt that is over is free, also where the task runs again', async () => {
  const [task, other] = [await running(), await running()];
  await take(task, { concurrency: 1 });
  await sql`update tasks set attempt = 2 where id = ${task}`.execute(database.db);
  expect(await take(other, { concurrency: 1 })).toHaveProperty('permit');
});

test('in a minute no more calls begin than the rate says; the first that is a minute old makes room', async () => {
  const task = await running();
  for (let i = 0; i < 3; i++) await releasePermit(database.db, permitOf(await take(task, { perMinute: 3 })));
  await sql`update agent_calls set at = at - interval '50 seconds' where id = (select min(id::text)::uuid from agent_calls)`.execute(
    database.db,
  );
  const away = (await take(task, { perMinute: 3 })) as NoPermit;
  expect(away.why).toBe('rate');
  // The first is a minute old in ten seconds; whoever asks next comes a place later.
  expect(away.laterMs).toBeGreaterThan(9_000);
  expect(away.laterMs).toBeLessThanOrEqual(30_000);
  await sql`update agent_calls set at = at - interval '11 seconds'`.execute(database.db);
  expect(await take(task, { perMinute: 3 })).toHaveProperty('permit');
  expect(await take(task, { perMinute: 3 })).toMatchObject({ why: 'rate' });
});

test('an open circuit turns all away until its time is over; then one at a time finds out', async () => {
  const [task, other] = [await running(), await running()];
  await fail(5);
  const away = (await take(task)) as NoPermit;
  expect(away.why).toBe('open');
  expect(away.laterMs).toBeGreaterThan(0);
  expect(away.laterMs).toBeLessThanOrEqual(1_000);
  expect(turnedAway({ name: 'x' }, away)).toMatchObject({ later: true, retryAfterMs: away.laterMs });

  await sql`update agent_health set opened_until = now()`.execute(database.db);
  const trial = permitOf(await take(task, { concurrency: 5 }));
  expect(await take(other, { concurrency: 5 })).toMatchObject({ why: 'full' });
  await releasePermit(database.db, trial);
  await reportOutcome(database.db, agent, { source: 'call', latencyMs: 5 }, 30_000);
  expect(await take(task, { concurrency: 5 })).toHaveProperty('permit');
  expect(await take(other, { concurrency: 5 })).toHaveProperty('permit');
});

test('calls that are over and older than a minute are taken away, those under way are not; what nobody asks for goes later', async () => {
  const { db } = database;
  const [task, gone] = [await running(), await running()];
  await take(task);
  await releasePermit(db, permitOf(await take(task)));
  await take(gone);
  await loseLease(gone);
  await sql`update agent_calls set at = at - interval '2 minutes'`.execute(db);
  await take(task);
  expect(await db.selectFrom('agent_calls').select('task_id').where('ended_at', 'is', null).execute()).toEqual([
    { task_id: task },
    { task_id: task },
  ]);
  expect(await db.selectFrom('agent_calls').selectAll().execute()).toHaveLength(2);
  await sql`update agent_calls set at = at - interval '2 days', ended_at = now()`.execute(db);
  await prune(db);
  expect(await db.selectFrom('agent_calls').selectAll().execute()).toEqual([]);
});

test('of an agent that is gone nobody gets a place, and nothing is counted', async () => {
  const task = await running();
  await database.db.deleteFrom('agents').execute();
  expect(await take(task)).toMatchObject({ why: 'gone' });
  expect(await fail(1)).toEqual([undefined]);
});
