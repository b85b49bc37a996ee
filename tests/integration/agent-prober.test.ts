import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { reportOutcome } from '../../src/agents/health.ts';
import { createProbe } from '../../src/agents/probe.ts';
import { createProber, type Prober } from '../../src/agents/prober.ts';
import { createModelClient, type ModelClient } from '../../src/clients/ollama.ts';
import { createOutbound, type Outbound } from '../../src/clients/outbound.ts';
import { findHealth, forgetHealth, listOutcomes, takeDueAgents } from '../../src/db/agent-health.ts';
import { newId } from '../../src/db/ids.ts';
import { createLog } from '../../src/log.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { json, type ScriptedHttp, silence, startScriptedHttp } from '../support/scripted-http.ts';
import { useTasks } from '../support/tasks.ts';
import { until } from '../support/until.ts';

const { database } = useTasks();
const log = createLog('silent');
const box = createSecretBox(Buffer.alloc(32, 7).toString('base64'));
let [well, mute]: ScriptedHttp[] = [];
let outbound: Outbound;
let models: ModelClient;
const probers: Prober[] = [];
beforeAll(async () => {
  [well, mute] = await Promise.all([startScriptedHttp(), startScriptedHttp()]);
  outbound = createOutbound(['127.0.0.1']);
  models = createModelClient({ hosts: ['http://127.0.0.1:9'], allowed: [], autoPull: false, log });
});
afterAll(async () => {
  await Promise.all([outbound.close(), models.close(), well?.close(), mute?.close()]);
});
beforeEach(() => {
  well?.script(json(200, {}));
  mute?.script(silence);
});
afterEach(async () => void (await Promise.all(probers.splice(0).map((one) => one.close()))));

function prober(parallel?: number): Prober {
  const probe = createProbe({ outbound, models });
  const one = createProber({ db: database.db, box, probe, log, everyMs: 10, ...(parallel ? { parallel } : {}) });
  probers.push(one);
  return one;
}

async function make(host: ScriptedHttp | undefined, more: { active?: boolean; config?: object } = {}) {
  const id = newId();
  const { active = true, config = {} } = more;
  const where = { endpoint: host?.url ?? '', is_active: active };
  const what = { capabilities: '[]', config: JSON.stringify(config) };
  await database.db
    .insertInto('agents')
    .values({ id, name: id, user_id: database.userId, type: 'http', ...where, ...what })
    .execute();
  return id;
}

const health = (id: string) => findHealth(database.db, id);
const stateIs = (id: string, state: string) => until(`it is ${state}`, async () => (await health(id))?.state === state);
const dueIn = async (id: string) => {
  const { rows } = await sql<{ ms: number }>`
    select extract(epoch from next_probe_at - clock_timestamp()) * 1000 as ms from agents where id = ${id}`.execute(
    database.db,
  );
  return Number(rows[0]?.ms);
};

test('those that say nothing hold up nobody, and those that are switched off are not asked', async () => {
  const silent = await Promise.all(
    Array.from({ length: 5 }, () => make(mute, { config: { health: { interval_seconds: 1 } } })),
  );
  const off = await make(well, { active: false });
  const good = await Promise.all(Array.from({ length: 5 }, () => make(well)));
  const began = performance.now();
  prober();
  await Promise.all(good.map((id) => stateIs(id, 'healthy')));
  expect(performance.now() - began).toBeLessThan(900);
  await Promise.all(silent.map((id) => stateIs(id, 'down')));
  expect(await health(off)).toBeUndefined();
  expect(well?.asked).toHaveLength(5);
});

test('no more are asked at a time than may be; the others come when there is room', async () => {
  const config = { health: { interval_seconds: 1 } };
  for (let i = 0; i < 3; i++) await make(mute, { config });
  const one = prober(2);
  await until('two are asked', () => mute?.asked.length === 2);
  expect(await one.start()).toBe(0);
  await until('the third is asked', () => mute?.asked.length === 3);
});

test('two workers ask each agent once, and the next time is within an interval, another for each', async () => {
  const agents = await Promise.all(Array.from({ length: 8 }, () => make(well)));
  prober();
  prober();
  await Promise.all(agents.map((id) => stateIs(id, 'healthy')));
  const due = await until('all are due again', async () => {
    const all = await Promise.all(agents.map(dueIn));
    return all.every((ms) => ms > 10_000) && all;
  });
  expect(well?.asked).toHaveLength(8);
  // What a probe may take that hears nothing, and until it is noticed that it is due, is within the interval too.
  expect(Math.min(...due)).toBeGreaterThan(19_000);
  expect(Math.max(...due)).toBeLessThanOrEqual(24_500);
  expect(new Set(due.map(Math.round)).size).toBeGreaterThan(4);
});

test('the agents of an account that is switched off are left alone', async () => {
  const agent = await make(well);
  await sql`update users set is_active = false`.execute(database.db);
  expect(await takeDueAgents(database.db, 10, 200)).toEqual([]);
  expect(await dueIn(agent)).toBeGreaterThan(50_000);
});

test('what a worker took along that was killed is asked by another one soon', async () => {
  const agent = await make(well);
  expect(await takeDueAgents(database.db, 10, 200)).toEqual([agent]);
  expect(await takeDueAgents(database.db, 10, 200)).toEqual([]);
  prober();
  await stateIs(agent, 'healthy');
});

test('an agent that fails goes down at once, then its circuit opens, and the probe after that heals it', async () => {
  const agent = await make(well, { config: { health: { interval_seconds: 1 } } });
  prober();
  await stateIs(agent, 'healthy');
  well?.script(json(500, {}));
  await stateIs(agent, 'down');
  const open = await until('the circuit opens', async () => {
    const now = await health(agent);
    return now?.opened_until && now;
  });
  expect(open).toMatchObject({
    state: 'down',
    openings: 1,
    last_error: { message: 'It answered 500.', source: 'probe' },
  });
  well?.script(json(200, {}));
  const back = await until('it is asked again', async () => {
    const now = await health(agent);
    return now?.opened_until === null && now;
  });
  expect(back).toMatchObject({ state: 'degraded', probe_failures: 0 });
});

test('a configuration that cannot be read makes it go down, and holds up nobody', async () => {
  const broken = await make(well, { config: { unknown: true } });
  const good = await make(well);
  prober();
  await Promise.all([stateIs(broken, 'down'), stateIs(good, 'healthy')]);
  expect((await health(broken))?.last_error?.message).toContain('not valid any more');
});

test('the last hundred of each kind are kept, and nothing that is a day old; percentiles are of those that succeeded', async () => {
  const { db } = database;
  const agent = await make(well, { active: false });
  await reportOutcome(db, agent, { source: 'call', latencyMs: 5 }, 30_000);
  // Each tenth fails after ten seconds; the others take as many milliseconds as their number.
  await sql`insert into agent_probes (agent_id, source, ok, latency_ms)
    select ${agent}, 'probe', i % 10 > 0, case when i % 10 = 0 then 9999 else i end from generate_series(1, 119) i`.execute(
    db,
  );
  await reportOutcome(db, agent, { source: 'probe', latencyMs: 9_999, failure: 'x' }, 30_000);
  const kept = await listOutcomes(db, agent);
  expect(kept.filter(({ source }) => source === 'probe').map(({ latency_ms }) => latency_ms)).toEqual(
    Array.from({ length: 100 }, (_, index) => 120 - index).map((i) => (i % 10 === 0 ? 9_999 : i)),
  );
  expect(kept.filter(({ source }) => source === 'call')).toHaveLength(1);
  expect(await health(agent)).toMatchObject({ probe_p50_ms: 69, probe_p95_ms: 115, call_p50_ms: 5 });
  await sql`update agent_probes set at = at - interval '25 hours' where latency_ms < 110`.execute(db);
  await reportOutcome(db, agent, { source: 'probe', latencyMs: 1 }, 30_000);
  expect(await db.selectFrom('agent_probes').select('id').where('source', '=', 'probe').execute()).toHaveLength(20);
});

test('after it moved, nothing that was known of it counts, and it is asked at once', async () => {
  const { db } = database;
  const agent = await make(well);
  await Array.fromAsync(Array(5), () =>
    reportOutcome(db, agent, { source: 'call', latencyMs: 5, failure: 'x' }, 30_000),
  );
  await sql`update agents set next_probe_at = now() + interval '1 hour'`.execute(db);
  await db.transaction().execute((trx) => forgetHealth(trx, agent));
  expect(await health(agent)).toMatchObject({ state: 'unknown', opened_until: null, openings: 0, last_error: null });
  expect(await listOutcomes(db, agent)).toEqual([]);
  prober();
  await stateIs(agent, 'healthy');
});
