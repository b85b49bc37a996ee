import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { addAgent, type GivenAgent } from '../support/add-agent.ts';
import { json, type Reaction, type ScriptedHttp, silence, startScriptedHttp } from '../support/scripted-http.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

interface Health {
  state: string;
  circuit: string;
  running: number;
  next_probe_at: string | null;
  interval_seconds: number | null;
  failures: { probes: number; calls: number };
  latency: { calls: { p50_ms: number | null } };
  last_error: { message: string | null; source: string } | null;
  history: Array<{ source: string; ok: boolean; error: string | null }>;
}

let world: World;
let client: Client;
let operator: Client;
let host: ScriptedHttp;
let made = 0;
beforeAll(async () => {
  [world, host] = await Promise.all([createWorld(), startScriptedHttp()]);
  [client, operator] = await Promise.all([world.client(), world.client('operator')]);
});
afterAll(async () => {
  await world.close();
  await host.close();
});
beforeEach(() => host.script(json(200, {})));

async function agent(given: Partial<GivenAgent> = {}): Promise<{ id: string; name: string }> {
  const name = `agent-${++made}`;
  const id = await addAgent(world, { name, userId: client.userId, endpoint: host.url, ...given });
  return { id, name };
}
const read = async (id: string, asker = client, query = '') =>
  (await asker.request<Health>('GET', `/api/v1/agents/${id}/health${query}`)).body;
const check = async (id: string, asker = client) =>
  (await asker.request<Health>('POST', `/api/v1/agents/${id}/check`)).body;
const is = (id: string, wanted: Partial<Health>) =>
  until(`it is ${JSON.stringify(wanted)}`, async () => {
    const now = await read(id);
    return Object.entries(wanted).every(([field, value]) => now[field as keyof Health] === value) && now;
  });

test('what is said of an agent is true within an interval, whatever happens to it', async () => {
  const { id } = await agent({ probed: true, config: { health: { interval_seconds: 1 } } });
  const well = await is(id, { state: 'healthy' });
  expect(well).toMatchObject({ circuit: 'closed', interval_seconds: 1, failures: { probes: 0, calls: 0 }, running: 0 });
  host.script(json(503, {}));
  const failing = performance.now();
  const down = await is(id, { state: 'down' });
  // The second of the two tries comes 200 ms after the first one.
  expect(performance.now() - failing).toBeLessThan(1_600);
  expect(down.last_error).toMatchObject({ message: 'It answered 503.', source: 'probe' });
  host.script(json(200, {}));
  expect(await is(id, { circuit: 'closed', state: 'degraded' })).toMatchObject({ failures: { probes: 0, calls: 0 } });
  await client.request('PATCH', `/api/v1/agents/${id}`, { is_active: false });

  const quiet = await agent({ probed: true, config: { health: { interval_seconds: 2 } } });
  await is(quiet.id, { state: 'healthy' });
  host.script(silence);
  const saying = performance.now();
  await is(quiet.id, { state: 'down' });
  expect(performance.now() - saying).toBeLessThan(2_400);
  await client.request('PATCH', `/api/v1/agents/${quiet.id}`, { is_active: false });
});

test('one that is not probed is unknown until it is checked; one that is switched off can be checked, too', async () => {
  const { id, name } = await agent({ active: false });
  expect(await read(id)).toMatchObject({ state: 'unknown', next_probe_at: null, history: [] });
  expect(await check(name)).toMatchObject({
    ...{ agent_id: id, is_active: false, state: 'healthy', next_probe_at: null },
    history: [{ source: 'probe', ok: true, status: 200, error: null }],
  });
  host.script(json(500, {}));
  expect(await check(id)).toMatchObject({ state: 'down', failures: { probes: 1 } });
  expect((await check(id)).circuit).toBe('open');
  expect((await read(id, client, '?history=2')).history).toHaveLength(2);
  expect((await read(id, client, '?history=0')).history).toEqual([]);
  for (const wrong of ['201', 'x', '-1', ''])
    expect((await client.request('GET', `/api/v1/agents/${id}/health?history=${wrong}`)).status).toBe(422);
});

test('who may only use an agent sees how it is, and nothing of where it is; others see nothing', async () => {
  const own = await agent();
  const other = await world.client();
  for (const [method, path] of [
    ['GET', 'health'],
    ['POST', 'check'],
  ] as const)
    expect((await other.request(method, `/api/v1/agents/${own.id}/${path}`)).status).toBe(404);

  const { id } = await addAgent(world, { name: 'everybodys', endpoint: 'http://10.9.8.7' }).then((one) => ({
    id: one,
  }));
  expect((await client.request('POST', `/api/v1/agents/${id}/check`)).status).toBe(403);
  const known = await check(id, operator);
  expect(known.last_error?.message).toContain('10.9.8.7');
  const seen = await read(id);
  expect(seen).toMatchObject({ state: 'down', interval_seconds: null, last_error: { message: null, source: 'probe' } });
  expect(seen.history).toMatchObject([{ ok: false, error: null }]);
  expect(JSON.stringify(seen)).not.toContain('10.9.8.7');
});

test('calls that fail open the circuit although probes succeed; what waits is done when the agent is back', async () => {
  const { id, name } = await agent();
  const failing: Reaction = (answer, { method }) =>
    answer.writeHead(method === 'POST' ? 500 : 200).end('of a private input');
  host.script(failing);
  const failed = Array.from({ length: 5 }, () =>
    client.runTask('agent.run', { agent: name, input: 1 }, { max_attempts: 1 }),
  );
  for (const task of await Promise.all(failed)) expect(task.status).toBe('failed');
  const open = await read(id);
  expect(open).toMatchObject({ state: 'down', circuit: expect.stringContaining('open'), failures: { calls: 5 } });
  expect(JSON.stringify(open)).not.toContain('of a private input');
  await check(id);
  expect(await read(id)).toMatchObject({ state: 'degraded', circuit: 'closed' });

  // One more failure opens it again; the task that comes then is turned away until a call may find out.
  const last = await client.runTask('agent.run', { agent: name, input: 1 }, { max_attempts: 1 });
  expect(last.status).toBe('failed');
  expect(await read(id)).toMatchObject({ state: 'down', circuit: expect.stringContaining('open') });
  // Long enough to look at it.
  await sql`update agent_health set opened_until = now() + interval '3 seconds' where agent_id = ${id}`.execute(
    world.db,
  );
  host.script(json(200, 'fine'));
  const waiting = await client.submit('agent.run', { agent: name, input: 1 });
  await until('it was turned away', async () => {
    const { body } = await client.request<{ attempt: number; status: string }>('GET', `/api/v1/tasks/${waiting.id}`);
    return body.status === 'pending' && body.attempt > 0;
  });
  expect(await client.request('GET', `/api/v1/tasks/${waiting.id}/explain`)).toMatchObject({
    body: { reason: 'dependency_down', detail: expect.stringContaining(`The agent ${name} keeps failing`) },
  });
  expect(await client.waitForEnd(waiting.id)).toMatchObject({ status: 'completed', output: { output: 'fine' } });
  expect(await read(id)).toMatchObject({ circuit: 'closed', failures: { probes: 0, calls: 0 }, running: 0 });
});

test('two workers together make no more calls at a time than an agent takes, and all tasks are done', async () => {
  const other = await world.join('worker', { WORKER_LANES: 'agent' });
  const { id, name } = await agent({ config: { max_concurrency: 2 } });
  let [now, most] = [0, 0];
  const { promise: two, resolve: bothAreHere } = Promise.withResolvers<void>();
  host.script(async (answer) => {
    most = Math.max(most, ++now);
    // However slow the machine is, the first waits until another one is there.
    if (now === 2) bothAreHere();
    await two;
    setTimeout(() => {
      now--;
      answer.writeHead(200).end();
    }, 20);
  });
  const tasks = await Promise.all(
    Array.from({ length: 8 }, () => client.submit('agent.run', { agent: name, input: 1 })),
  );
  const ended = await Promise.all(tasks.map((task) => client.waitForEnd(task.id)));
  expect(ended.map(({ status }) => status)).toEqual(Array(8).fill('completed'));
  expect(host.asked).toHaveLength(8);
  expect(most).toBe(2);
  expect((await read(id)).latency.calls.p50_ms).toBeGreaterThanOrEqual(20);
  await other.close();
});
