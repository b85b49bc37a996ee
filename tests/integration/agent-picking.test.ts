import { sql } from 'kysely';
import { expect, test } from 'vitest';
import { takePermit } from '../../src/agents/permits.ts';
import { pickAgents } from '../../src/agents/pick.ts';
import { newId } from '../../src/db/ids.ts';
import type { AgentState } from '../../src/db/schema.ts';
import { storeUser, useTasks } from '../support/tasks.ts';

const { database, running } = useTasks();

interface Made {
  userId?: string | null;
  capabilities?: string[];
  active?: boolean;
  state?: AgentState;
  heardSecondsAgo?: number;
  interval?: number;
  p50?: number;
  busy?: number;
}

/** An agent that can sum, as it is after something was heard of it. */
async function make(name: string, made: Made = {}): Promise<string> {
  const { db } = database;
  const id = newId();
  const { userId = database.userId, capabilities = ['sum'], active = true, state, p50 = null } = made;
  await db
    .insertInto('agents')
    .values({
      ...{ id, name, user_id: userId, type: 'http', endpoint: 'http://127.0.0.1:9', is_active: active },
      capabilities: JSON.stringify(capabilities),
      config: JSON.stringify(made.interval ? { health: { interval_seconds: made.interval } } : {}),
    })
    .execute();
  if (!state) return id;
  const heard_at = sql<Date>`now() - ${made.heardSecondsAgo ?? 1}::int * interval '1 second'`;
  await db.insertInto('agent_health').values({ agent_id: id, state, heard_at, call_p50_ms: p50 }).execute();
  const limits = { concurrency: null, perMinute: null };
  for (let i = 0; i < (made.busy ?? 0); i++)
    await takePermit(db, { agentId: id, taskId: await running(), attempt: 1, limits });
  return id;
}

const pick = async (userId: string | null = database.userId) =>
  (await pickAgents(database.db, { userId, capability: 'sum' })).map(({ name }) => name);

test('healthy ones come first, of these the least busy, of these the quickest; those that are down are left out', async () => {
  await make('down', { state: 'down', p50: 1 });
  await make('unknown');
  await make('degraded', { state: 'degraded', p50: 1 });
  await make('busy', { state: 'healthy', p50: 1, busy: 2 });
  await make('busier', { state: 'healthy', p50: 1, busy: 3 });
  await make('slow', { state: 'healthy', p50: 900 });
  await make('unmeasured', { state: 'healthy' });
  await make('quick', { state: 'healthy', p50: 20 });
  expect(await pick()).toEqual(['quick', 'slow', 'unmeasured', 'busy', 'busier', 'degraded', 'unknown']);
});

test('where all are down these are tried, and what nobody can do has nobody', async () => {
  await make('one', { state: 'down', p50: 30 });
  await make('two', { state: 'down', p50: 20 });
  await make('other', { state: 'healthy', capabilities: ['translate'] });
  expect(await pick()).toEqual(['two', 'one']);
  await database.db.deleteFrom('agents').where('name', '!=', 'other').execute();
  expect(await pick()).toEqual([]);
});

test('what was heard too long ago is known no more', async () => {
  await make('in time', { state: 'healthy', heardSecondsAgo: 25, interval: 10, p50: 5_000 });
  await make('too old', { state: 'healthy', heardSecondsAgo: 35, interval: 10, p50: 10 });
  await make('by the usual interval', { state: 'healthy', heardSecondsAgo: 65, p50: 9_000 });
  await make('down for all that is known', { state: 'down', heardSecondsAgo: 75, p50: 1 });
  expect(await pick()).toEqual(['in time', 'by the usual interval', 'down for all that is known', 'too old']);
});

test("nobody gets another user's agent, one that is switched off or one that was removed; shared ones are everybody's", async () => {
  await make('mine', { state: 'healthy', p50: 9 });
  await make('of another', { userId: await storeUser(database.db), state: 'healthy', p50: 1 });
  await make('off', { active: false, state: 'healthy', p50: 1 });
  await make('shared', { userId: null, state: 'healthy', p50: 10 });
  const gone = await make('gone', { state: 'healthy', p50: 1 });
  await sql`update agents set deleted_at = now() where id = ${gone}`.execute(database.db);
  expect(await pick()).toEqual(['mine', 'shared']);
  expect(await pick(null)).toEqual(['shared']);
});
