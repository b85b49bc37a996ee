import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import { listAttempts } from '../../src/db/tasks/read.ts';
import { sendJson, sendLines } from '../support/fake-ollama.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const chat = { messages: [{ role: 'user', content: 'hello' }] };

describe.each(BACKENDS)('a worker on %s', (backend) => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ backend, env: { MAX_OUTPUT_BYTES: '2000', LEASE_SECONDS: '3' } });
    client = await world.client();
  });
  afterEach(() => {
    world.ollama.script = undefined;
  });
  afterAll(() => world.close());

  const outcomes = async (id: string) => (await listAttempts(world.db, id)).map(({ outcome }) => outcome);
  const row = (id: string) => world.db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

  it('tries again after a wait until the model answers, in one generation', async () => {
    let refusals = 2;
    world.ollama.script = (_, response) => {
      if (refusals-- <= 0) return false;
      sendJson(response, 500, { error: 'cuda: out of luck' });
      return true;
    };
    const task = await client.runTask('embed', { input: 'hi' });
    expect(task).toMatchObject({ status: 'completed', attempt: 3, error: null });
    expect(await outcomes(task.id)).toEqual(['retry', 'retry', 'completed']);
    // The generation is that of the first job: BullMQ did the waiting.
    expect(await row(task.id)).toMatchObject({ generation: 0, failures: 2, losses: 0 });
    expect((await listAttempts(world.db, task.id))[0]).toMatchObject({
      ...{ error: { code: 'upstream_unavailable' }, model: 'all-minilm:latest', host: 'host-1' },
      model_digest: 'sha256:all-minilm:latest',
    });
  });

  it('does not try again what was refused for good', async () => {
    world.ollama.script = (_, response) => {
      sendJson(response, 400, { error: 'invalid options' });
      return true;
    };
    const before = world.ollama.calls.length;
    const task = await client.runTask('chat', chat);
    expect(task).toMatchObject({
      status: 'failed',
      attempt: 1,
      error: { code: 'upstream_rejected', retryable: false },
    });
    expect(await outcomes(task.id)).toEqual(['failed']);
    expect(world.ollama.calls.length - before).toBe(1);
  });

  it('gives up after max_attempts', async () => {
    world.ollama.script = (_, response) => {
      sendJson(response, 500, { error: 'broken' });
      return true;
    };
    const task = await client.runTask('embed', { input: 'hi' }, { max_attempts: 2 });
    expect(task).toMatchObject({ status: 'failed', attempt: 2, error: { code: 'upstream_unavailable' } });
    expect(await outcomes(task.id)).toEqual(['retry', 'failed']);
  });

  it('stops a task that takes too long, and its call of the model', async () => {
    world.ollama.script = () => true;
    const called = world.ollama.nextCall('/api/chat');
    const task = await client.runTask('chat', chat, { timeout_seconds: 1, max_attempts: 1 });
    expect(task).toMatchObject({ status: 'failed', error: { code: 'timeout' } });
    expect(await (await called).closedEarly).toBe(true);
  });

  it('stops the call of the model when the task is cancelled', async () => {
    world.ollama.script = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      response.write('{"message":{"role":"assistant","content":"Once"},"done":false}\n');
      return true;
    };
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', chat);
    const call = await called;
    // The row says `running` before the attempt is known to the process; a cancel in between waits for the heartbeat.
    await until('the first text', async () => (await row(id)).progress !== null);
    const cancelled = Date.now();
    expect((await client.request('POST', `/api/v1/tasks/${id}/cancel`)).status).toBeLessThan(300);
    expect(await call.closedEarly).toBe(true);
    expect(Date.now() - cancelled).toBeLessThan(3_000);
    expect((await client.waitForEnd(id)).status).toBe('cancelled');
    expect(await outcomes(id)).toEqual(['cancelled']);
  });

  it('gives a task of a type that it does not know back, without counting a failure', async () => {
    const known = await client.runTask('echo', { message: 'x' });
    const id = newId();
    const { user_id } = await row(known.id);
    const like = {
      lane: 'system',
      priority: 5,
      input: '{}',
      max_attempts: 1,
      timeout_ms: 1_000,
      metadata: '{}',
    } as const;
    const old = new Date(Date.now() - 60_000);
    await world.db
      .insertInto('tasks')
      .values({ id, user_id, type: 'from.tomorrow', status: 'pending', ready_at: old, ...like })
      .execute();
    await world.running.reconciler.runOnce();
    const waiting = await until('it was looked at', async () => {
      const task = await row(id);
      return task.attempt > 0 && task.status === 'pending' && task;
    });
    expect(waiting).toMatchObject({ failures: 0, losses: 0, error: { code: 'unknown_task_type' } });
    expect(waiting.ready_at.getTime()).toBeGreaterThan(Date.now() + 3_000);
    expect(await outcomes(id)).toEqual(['released']);
  });

  it('fails a task whose stored input no longer fits its type', async () => {
    world.ollama.script = () => true;
    const before = world.ollama.calls.length;
    const busy = [await client.submit('chat', chat), await client.submit('chat', chat)];
    await until('the lane is full', () => world.ollama.calls.length === before + 2);
    const { id } = await client.submit('chat', chat);
    await world.db.updateTable('tasks').set({ input: '{"prompt":1}' }).where('id', '=', id).execute();
    for (const one of busy) await client.request('POST', `/api/v1/tasks/${one.id}/cancel`);
    expect(await client.waitForEnd(id)).toMatchObject({
      status: 'failed',
      attempt: 1,
      error: { code: 'invalid_input' },
    });
  });

  it('fails an output that is not what the type promises', async () => {
    world.ollama.script = (_, response) => {
      sendLines(response, [{ response: 'x', done: true, done_reason: 5 }]);
      return true;
    };
    const task = await client.runTask('generate', { prompt: 'x' });
    expect(task).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'invalid_output' }, output: null });
  });

  it('fails an output that is too large', async () => {
    world.ollama.script = (_, response) => {
      sendLines(response, [{ response: 'x'.repeat(3_000), done: true, done_reason: 'stop' }]);
      return true;
    };
    const task = await client.runTask('generate', { prompt: 'x' });
    expect(task).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'output_too_large' }, output: null });
  });

  it('breaks a text off that does not end, and its call of the model', async () => {
    world.ollama.script = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      const timer = setInterval(() => response.write('{"response":"and so on","done":false}\n'), 1);
      response.once('close', () => clearInterval(timer));
      return true;
    };
    const called = world.ollama.nextCall('/api/generate');
    const task = await client.runTask('generate', { prompt: 'x' });
    expect(task).toMatchObject({ status: 'failed', attempt: 1, error: { code: 'output_too_large', retryable: false } });
    expect(await (await called).closedEarly).toBe(true);
  });

  it('fails an answer that nests too deep once, for good', async () => {
    for (const depth of [70, 100_000]) {
      world.ollama.script = (_, response) => {
        const calls = `${'['.repeat(depth)}${']'.repeat(depth)}`;
        const line = `{"message":{"role":"assistant","content":"","tool_calls":${calls}},"done":true,"done_reason":"stop"}`;
        response.writeHead(200, { 'content-type': 'application/x-ndjson' }).end(`${line}\n`);
        return true;
      };
      expect(await client.runTask('chat', chat)).toMatchObject({
        status: 'failed',
        attempt: 1,
        error: { code: expect.stringMatching(/invalid_output|output_too_large/), retryable: false },
      });
    }
  });

  it('closes the call of the model when another worker has taken the task over', async () => {
    world.ollama.script = () => true;
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', chat);
    const call = await called;
    await world.db.updateTable('tasks').set({ attempt: 2 }).where('id', '=', id).execute();
    expect(await call.closedEarly).toBe(true);
    await client.request('POST', `/api/v1/tasks/${id}/cancel`);
  });

  it('cleans what Postgres cannot store out of outputs and errors', async () => {
    world.ollama.script = (_, response) => {
      sendLines(response, [{ response: 'a\u0000b\ud800c', done: true, done_reason: 'stop' }]);
      return true;
    };
    expect((await client.runTask('generate', { prompt: 'x' })).output).toMatchObject({ text: 'ab\ufffdc' });
    world.ollama.script = (_, response) => {
      sendJson(response, 400, { error: 'no\u0000thing' });
      return true;
    };
    expect((await client.runTask('generate', { prompt: 'x' })).error?.message).toContain('nothing');
  });
});
