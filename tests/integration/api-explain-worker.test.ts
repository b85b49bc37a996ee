import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Explanation } from '../../src/api/shapes/explanation.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

const chat = () => ({ messages: [{ role: 'user', content: 'x' }] });

describe('a task that waits beside a worker', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ env: { MAX_RUNNING_TASKS_PER_USER: '1' } });
    client = await world.client();
  });
  afterAll(() => world.close());
  afterEach(() => {
    Object.assign(world.ollama, { script: undefined, loaded: undefined });
  });
  const explain = async (id: string) => (await client.request<Explanation>('GET', `/api/v1/tasks/${id}/explain`)).body;
  const hang = async (by: Client, more = {}) => {
    world.ollama.script = () => new Promise(() => {});
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await by.submit('chat', chat(), more);
    await called;
    return async () => void (await by.request('POST', `/api/v1/tasks/${id}/cancel`));
  };

  it('hears that its user or its key has as much running as may be', async () => {
    const end = await hang(client);
    const second = await client.submit('chat', chat());
    await until('the limit holds it back', async () => (await explain(second.id)).reason === 'user_limit');
    await end();
    await client.request('POST', `/api/v1/tasks/${second.id}/cancel`);

    const rich = await world.client();
    await world.db
      .insertInto('user_limits')
      .values({
        user_id: rich.userId,
        running_tasks: 0,
        waiting_tasks: null,
        tokens_per_day: null,
        requests_per_minute: null,
      })
      .execute();
    const concurrency_key = { key: 'account-7', limit: 1, policy: 'queue' };
    const free = await hang(rich, { concurrency_key });
    const third = await rich.submit('chat', chat(), { concurrency_key });
    const why = async () => (await rich.request<Explanation>('GET', `/api/v1/tasks/${third.id}/explain`)).body;
    await until('the key holds it back', async () => (await why()).reason === 'concurrency_limit');
    expect((await why()).detail).toContain('account-7');
    await rich.request('POST', `/api/v1/tasks/${third.id}/cancel`);
    await free();
  });

  it('hears that its model is being loaded, and that what it needs is away', async () => {
    world.ollama.loaded = [];
    const users = await Promise.all([world.client(), world.client(), world.client()]);
    const ends = [await hang(users[0]!), await hang(users[1]!)];
    const { id } = await users[2]!.submit('chat', chat());
    const why = async () => (await users[2]!.request<Explanation>('GET', `/api/v1/tasks/${id}/explain`)).body;
    await until('the model is being loaded', async () => (await why()).reason === 'model_loading');
    world.ollama.script = (_, response) => {
      response.writeHead(503, { 'content-type': 'application/json' }).end('{"error":"overloaded"}');
      return true;
    };
    for (const end of ends) await end();
    await until('the host is away', async () => (await why()).reason === 'dependency_down');
    world.ollama.script = undefined;
    expect((await users[2]!.waitForEnd(id)).status).toBe('completed');
    expect(await why()).toMatchObject({ status: 'completed', reason: null, position: null });
  });

  it('hears that a service which it needs asks for fewer calls', async () => {
    world.ollama.script = (_, response) => {
      response.writeHead(429, { 'content-type': 'application/json', 'retry-after': '2' }).end('{"error":"slow down"}');
      return true;
    };
    const user = await world.client();
    const { id } = await user.submit('chat', chat());
    const why = async () => (await user.request<Explanation>('GET', `/api/v1/tasks/${id}/explain`)).body;
    const told = await until('it is told', async () => {
      const now = await why();
      return now.reason === 'rate_limited' && now;
    });
    expect(told.detail).toContain('asks for fewer calls');
    world.ollama.script = undefined;
    expect((await user.waitForEnd(id)).status).toBe('completed');
  });

  it('is done by a process that tells of itself, also while it has nothing to do', async () => {
    const operator = await world.client('operator');
    await client.runTask('echo', { message: 'x' });
    interface Worker {
      name: string;
      lanes: Record<string, { concurrency: number; running: number }>;
      running: unknown[];
      seen_at: string;
    }
    const workers = async () =>
      (await operator.request<{ data: Worker[] }>('GET', '/api/v1/monitoring/workers')).body.data;
    // It tells of itself every few seconds, and may have done so in the middle of that task.
    await until('it is idle again', async () => (await workers())[0]?.lanes.system?.running === 0);
    expect(await workers()).toEqual([
      expect.objectContaining({
        version: expect.any(String),
        lanes: expect.objectContaining({ system: { concurrency: 16, running: 0 } }),
        running: [],
      }),
    ]);
    const done = async () => {
      const { body } = await operator.request<{
        data: Array<{ name: string; throughput: { completed_per_minute: number } }>;
      }>('GET', '/api/v1/monitoring/queues');
      return body.data.find(({ name }) => name === 'system')?.throughput.completed_per_minute;
    };
    await until('what was done is told', async () => ((await done()) ?? 0) > 0);
    const second = await world.join('worker');
    await sql`create table taken_away (name text)`.execute(world.db);
    await sql`create rule taken_away as on delete to workers
      do also insert into taken_away values (old.name)`.execute(world.db);
    // Both are the same process here, and so one worker by name; when one stops, it takes its row away. The other one
    // may tell of itself in the next moment, so the row may be there again before anybody looks.
    const [{ name } = { name: '' }] = await workers();
    await second.close();
    expect((await sql`select * from taken_away`.execute(world.db)).rows).toEqual([{ name }]);
    await until('the other tells of itself again', async () => (await workers()).length === 1);
  });

  it('is counted beside all that its worker runs, where that is too much to name, and no worker hides another one', async () => {
    const store = (worker: string, count: number) =>
      sql`
      insert into tasks (id, user_id, type, lane, status, input, max_attempts, timeout_ms, attempt, worker, ready_at, started_at, lease_until)
      select gen_random_uuid(), ${client.userId}, 'echo', 'system', 'running', '{"message":"x"}', 3, 30000, 1, ${worker}, now(),
        now() - n * interval '1 second', now() + interval '1 hour'
      from generate_series(1, ${count}::int) n`.execute(world.db);
    await store('aa-many', 1_200);
    await store('zz-few', 3);
    interface Worker {
      name: string;
      running_total: number;
      running: Array<{ started_at: string }>;
    }
    const operator = await world.client('operator');
    const { body } = await operator.request<{ data: Worker[] }>('GET', '/api/v1/monitoring/workers');
    const [many, few] = ['aa-many', 'zz-few'].map((name) => body.data.find((worker) => worker.name === name));
    expect([many?.running_total, few?.running_total, few?.running.length]).toEqual([1_200, 3, 3]);
    expect(body.data.reduce((sum, { running }) => sum + running.length, 0)).toBe(1_000);
    // Those that run longest are named.
    const times = many?.running.map(({ started_at }) => started_at) ?? [];
    expect(times).toEqual(times.toSorted());
    expect(Date.now() - Date.parse(times[0] ?? '')).toBeGreaterThan(1_199_000);
  });
});
