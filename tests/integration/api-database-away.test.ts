import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem, type Problem, textOf } from '../support/problem.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { ADMIN_PASSWORD, type Client, createWorld, type World } from '../support/world.ts';

describe('while the database is away', () => {
  let world: World;
  let client: Client;
  let relay: Relay;
  let url: string;
  beforeAll(async () => {
    world = await createWorld({ backend: 'redis', mode: 'api' });
    relay = await startRelay(world.databaseUrl);
    // All that counts and limits is on: none of it may let anybody in because it cannot count.
    const limits = {
      AUTH_RATE_LIMIT_PER_MINUTE: '10000',
      RATE_LIMIT_PER_MINUTE: '10000',
      MAX_WAITING_TASKS_PER_USER: '10000',
      MAX_TOKENS_PER_DAY_PER_USER: '10000',
    };
    url = (await world.join('api', { DATABASE_URL: relay.url, ...limits })).url as string;
    client = await world.client();
  });
  afterAll(async () => {
    relay.mend();
    await world.close();
    await relay.close();
  });

  async function ask(method: string, path: string, body?: unknown) {
    const answer = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${client.token}`, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Problem };
  }

  it('S49: answers 503 and when to ask again, says that it is not ready but alive, and is itself again afterwards', async () => {
    const submission = { type: 'echo', input: { message: 'x' } };
    const accepted = await ask('POST', '/api/v1/tasks', submission);
    expect(accepted.status).toBe(202);
    expect((await ask('GET', '/readyz')).body).toMatchObject({ status: 'ready' });

    relay.cut();
    const calls: Array<[string, string, unknown?]> = [
      ['POST', '/api/v1/tasks', submission],
      ['POST', '/api/v1/tasks/batch', { tasks: [submission] }],
      ['GET', '/api/v1/tasks'],
      ['GET', `/api/v1/tasks/${randomBytes(4).toString('hex')}-0000-7000-8000-000000000000`],
      ['GET', '/api/v1/auth/me'],
      ['POST', '/api/v1/auth/logout'],
      ['DELETE', '/api/v1/auth/sessions'],
      ['GET', '/api/v1/auth/sessions'],
      ['POST', '/api/v1/auth/password', { current_password: 'whatever', new_password: 'another long password' }],
      ['POST', '/api/v1/auth/login', { username: client.username, password: 'whatever it is' }],
      ['POST', '/api/v1/auth/register', { username: 'new', email: 'new@example.com', password: 'a long password' }],
    ];
    for (const [method, path, body] of calls) {
      const answer = await ask(method, path, body);
      const problem = expectProblem(answer, 'temporary-reduced-capacity');
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(textOf(problem)).not.toMatch(/ECONN|postgres|127\.0\.0\.1|select|insert/i);
    }
    const dashboard = await fetch(`${url}/admin/login`, {
      method: 'POST',
      headers: { origin: url },
      body: new URLSearchParams({ login: client.username, password: ADMIN_PASSWORD }),
      redirect: 'manual',
    });
    expect([dashboard.status, dashboard.headers.get('set-cookie')]).toEqual([503, null]);
    await expect.poll(async () => (await ask('GET', '/readyz')).status, { timeout: 5_000 }).toBe(503);
    const { body } = await ask('GET', '/readyz');
    expect(JSON.stringify(body)).not.toMatch(/127\.0\.0\.1|ECONN/);
    expect((await ask('GET', '/healthz')).status).toBe(200);
    // What needs no database goes on.
    expect((await ask('GET', '/api/v1/task-types')).status).toBe(200);

    relay.mend();
    const soon = { timeout: 5_000 };
    await expect.poll(async () => (await ask('POST', '/api/v1/tasks', submission)).status, soon).toBe(202);
    await expect.poll(async () => (await ask('GET', '/readyz')).status, soon).toBe(200);
    expect(await world.db.selectFrom('tasks').select('id').execute()).toHaveLength(2);
  });

  it('answers within seconds while the database says nothing, and is itself again within seconds of its return', async () => {
    const submission = { type: 'echo', input: { message: 'x' } };
    relay.set('blackhole');
    const asked = performance.now();
    const calls = Array.from({ length: 30 }, async (_, n) => {
      const answer = n % 3 === 0 ? await ask('GET', '/api/v1/tasks') : await ask('POST', '/api/v1/tasks', submission);
      return [answer.status, performance.now() - asked < 10_000];
    });
    await expect.poll(async () => (await ask('GET', '/readyz')).status, { timeout: 5_000 }).toBe(503);
    expect((await ask('GET', '/healthz')).status).toBe(200);
    expect(await Promise.all(calls)).toEqual(calls.map(() => [503, true]));

    relay.mend();
    const back = performance.now();
    await expect.poll(async () => (await ask('GET', '/readyz')).status, { timeout: 5_000 }).toBe(200);
    expect((await ask('POST', '/api/v1/tasks', submission)).status).toBe(202);
    expect((await ask('GET', '/api/v1/tasks')).status).toBe(200);
    expect(performance.now() - back).toBeLessThan(6_000);
  });
});
