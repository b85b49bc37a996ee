import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { expectProblem } from '../support/problem.ts';
import { type Sutazai, spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import { anonymousClient, BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const TASKS = '/api/v1/tasks';
const echo = (message: string, title: string) => ({ type: 'echo', input: { message }, title });

describe.each(BACKENDS)('F4: two API processes on %s', (backend) => {
  let world: World;
  let processes: Sutazai[];
  let clients: Client[];
  beforeAll(async () => {
    // The process of the test only works and migrates; what is asked goes to two others.
    world = await createWorld({ backend });
    const { token } = await world.client();
    processes = [1, 2].map(() => spawnSutazai(['api'], { ...world.env, LOG_LEVEL: 'error' }));
    const urls = processes.map((one) =>
      until('an API is up', () => /is up at (\S+)/.exec(one.output())?.[1], { withinMs: 60_000 }),
    );
    clients = (await Promise.all(urls)).map((url) => anonymousClient(url, token));
  });
  afterAll(async () => {
    await Promise.all(processes.map((one) => one.kill('SIGTERM')));
    await world.close();
  });

  /** The same request 25 times to each process at once. */
  const storm = (path: string, body: unknown, key: string) =>
    Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        clients[n % 2]!.request<PresentedTask>('POST', path, body, { 'idempotency-key': key }),
      ),
    );

  it('store one task for 50 requests with one key, which all get its id, and run it once', async () => {
    const answers = await storm(TASKS, echo('x', 'single'), 'single');
    expect(new Set(answers.map(({ status, body }) => `${status} ${body.id}`)).size).toBe(1);
    expect(answers.filter(({ headers }) => headers.get('idempotency-replayed') === null)).toHaveLength(1);
    expect(answers.map(({ body: { urls: _, ...body } }) => body)).toEqual(
      answers.map(() => expect.objectContaining({ id: answers[0]?.body.id, status: 'pending', output: null })),
    );
    const id = answers[0]?.body.id as string;
    expect(await clients[0]!.waitForEnd(id)).toMatchObject({ status: 'completed', attempt: 1 });
    expect(await world.db.selectFrom('tasks').select('id').where('title', '=', 'single').execute()).toEqual([{ id }]);
  });

  it('store one batch', async () => {
    const tasks = Array.from({ length: 20 }, (_, n) => echo(`${n}`, 'batch'));
    const answers = await storm(`${TASKS}/batch`, { tasks }, 'batch');
    expect(
      new Set(answers.map(({ status, body }) => `${status} ${(body as unknown as { batch_id: string }).batch_id}`))
        .size,
    ).toBe(1);
    expect(await world.db.selectFrom('tasks').select('id').where('title', '=', 'batch').execute()).toHaveLength(20);
  });

  it('let one of two different requests through, and refuse the other', async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        clients[n % 2]!.request<PresentedTask>('POST', TASKS, echo(`${n % 2}`, 'mixed'), {
          'idempotency-key': 'mixed',
        }),
      ),
    );
    const accepted = answers.filter(({ status }) => status === 202);
    expect(accepted).toHaveLength(25);
    expect(new Set(accepted.map(({ body }) => body.id)).size).toBe(1);
    for (const answer of answers) if (answer.status !== 202) expectProblem(answer, 'idempotency_key_reused');
    expect(await world.db.selectFrom('tasks').select('id').where('title', '=', 'mixed').execute()).toHaveLength(1);
  });

  it('retry a task once for 50 requests with one key', async () => {
    const { id } = await clients[0]!.runTask('echo', { message: 'x' });
    const path = `${TASKS}/${id}/retry`;
    const answers = await storm(path, undefined, 'retry');
    for (const answer of answers) if (answer.status !== 202) expectProblem(answer, 'idempotency_key_in_use');
    expect(
      answers.filter(({ status, headers }) => status === 202 && !headers.get('idempotency-replayed')),
    ).toHaveLength(1);
    expect(await clients[0]!.waitForEnd(id)).toMatchObject({ attempt: 2, status: 'completed' });
    const late = await clients[1]!.request('POST', path, undefined, { 'idempotency-key': 'retry' });
    expect([late.status, late.headers.get('idempotency-replayed')]).toEqual([202, 'true']);
    expect(await clients[0]!.waitForEnd(id)).toMatchObject({ attempt: 2 });
  });
});
