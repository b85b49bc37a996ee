import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from 'vitest';
import { Sutazai, TaskFailedError, type TokenPair } from '../../src/client/index.ts';
import { sendJson } from '../support/fake-ollama.ts';
import { startRelay } from '../support/relay.ts';
import { until } from '../support/until.ts';
import { ADMIN_PASSWORD, type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let user: Client;
let sutazai: Sutazai;
beforeAll(async () => {
  world = await createWorld();
  user = await world.client();
  sutazai = new Sutazai({ baseUrl: world.url, token: user.token });
});
afterAll(() => world.close());

const echo = (message = 'hi') => ({ type: 'echo' as const, input: { message } });
const tasksOf = (title: string) => world.db.selectFrom('tasks').select('id').where('title', '=', title).execute();

describe('a client', () => {
  it('runs a task and knows the type of its output', async () => {
    const task = await sutazai.run('echo', { message: 'hi' }, { title: 'typed', priority: 2, tags: ['a'] });
    expect(task).toMatchObject({ status: 'completed', title: 'typed', priority: 2, tags: ['a'] });
    expect(task.output?.message).toBe('hi');
    expectTypeOf(task.output).toEqualTypeOf<{ message: string } | null>();
    // @ts-expect-error a field is missing
    void (() => sutazai.run('echo', {}));
    // @ts-expect-error a field is of the wrong type
    void (() => sutazai.tasks.submit({ type: 'chat', input: { messages: 'hello' } }));
    void (() => sutazai.run('a.later.type', { anything: true }));
  });

  it('submits, waits from afar, and sees the changes on the way', async () => {
    const answering = Promise.withResolvers<void>();
    world.ollama.script = () => answering.promise.then(() => false);
    const { id, status, urls } = await sutazai.tasks.submit({ type: 'generate', input: { prompt: 'x' } });
    expect([status, urls.self]).toEqual(['pending', `${world.url}/api/v1/tasks/${id}`]);
    const seen: string[] = [];
    const waiting = sutazai.tasks.wait<{ text: string }>(id, { onProgress: (task) => seen.push(task.status) });
    await until('it is seen running', () => seen.includes('running'));
    await expect(sutazai.tasks.wait(id, { timeoutMs: 100 })).rejects.toMatchObject({ code: 'wait_timeout' });
    answering.resolve();
    expect((await waiting).output?.text).toBe('Hello from a scripted host');
    expect(seen.at(-1)).toBe('completed');
  });

  it('throws what a task failed with, and the task', async () => {
    world.ollama.script = (_, answer) => {
      sendJson(answer, 400, { error: 'no such option' });
      return true;
    };
    const failed = await sutazai.run('generate', { prompt: 'x' }).catch((error) => error);
    expect(failed).toBeInstanceOf(TaskFailedError);
    expect(failed).toMatchObject({ code: failed.task.error.code, task: { type: 'generate', status: 'failed' } });
    expect(failed.message).toContain(failed.task.error.message);
    world.ollama.script = undefined;
  });

  it('submits many at once and lists them page by page', async () => {
    const { batch_id, tasks } = await sutazai.tasks.submitBatch(Array.from({ length: 7 }, (_, n) => echo(`${n}`)));
    const found = [];
    for await (const { id } of sutazai.tasks.list({ batch_id, limit: 3 })) found.push(id);
    expect(found).toEqual(
      tasks
        .map(({ id }) => id)
        .sort()
        .reverse(),
    );
    const page = await sutazai.tasks.list({ batch_id, limit: 3 }).page();
    expect([page.data.length, page.next_cursor]).toEqual([3, found[2]]);
  });

  it('cancels, retries, and reads the attempts', async () => {
    const { id } = await sutazai.tasks.submit({ ...echo(), delay_seconds: 600 });
    expect((await sutazai.tasks.cancel(id)).status).toBe('cancelled');
    expect((await sutazai.tasks.retry(id)).id).toBe(id);
    expect((await sutazai.tasks.wait(id)).status).toBe('completed');
    const attempts = [];
    for await (const attempt of sutazai.tasks.attempts(id)) attempts.push(attempt);
    expect(attempts).toMatchObject([{ attempt: 1, outcome: 'completed' }]);
    await expect(sutazai.tasks.cancel(id)).rejects.toMatchObject({ code: 'task_ended', status: 409 });
  });

  it('says which field is wrong, with the id under which the log has it', async () => {
    const error = await sutazai.tasks.submit({ type: 'echo', input: JSON.parse('{}') }).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'validation_failed', status: 422 });
    expect(error.errors).toEqual([{ pointer: '#/input/message', detail: 'is missing' }]);
    expect(error.requestId).toMatch(/^[\w-]{8,64}$/);
  });

  it('reads what there is, and steers queues where it may', async () => {
    const names = [];
    for await (const { name } of sutazai.taskTypes.list()) names.push(name);
    expect(names).toContain('echo');
    expect((await sutazai.me()).username).toBe(user.username);
    await expect(sutazai.queues.pause('embed')).rejects.toMatchObject({ code: 'forbidden', status: 403 });
    const operator = new Sutazai({ baseUrl: world.url, token: (await world.client('operator')).token });
    expect(await operator.queues.pause('embed')).toMatchObject({ name: 'embed', paused: true });
    const queues = await operator.queues.list().page();
    expect(queues.data.find(({ paused }) => paused)?.name).toBe('embed');
    expect((await operator.queues.resume('embed')).paused).toBe(false);
  });

  it('hands a task in once when the answer to it is lost', async () => {
    const relay = await startRelay(world.url);
    const far = new Sutazai({ baseUrl: relay.url, token: user.token });
    relay.set({ delayMs: 400 });
    const submitting = far.tasks.submit({ ...echo(), title: 'lost answer' });
    await until('the task is stored', async () => (await tasksOf('lost answer')).length > 0);
    relay.cut();
    relay.mend();
    const { id } = await submitting;
    expect(await tasksOf('lost answer')).toEqual([{ id }]);
    await relay.close();
  });

  it('waits on while the API is away', async () => {
    const relay = await startRelay(world.url);
    const far = new Sutazai({ baseUrl: relay.url, token: user.token, maxRetries: 12 });
    const { id } = await far.tasks.submit({ ...echo(), delay_seconds: 1 });
    const waiting = far.tasks.wait(id);
    await until('it waits', () => relay.connections() > 0);
    relay.cut();
    await user.waitForEnd(id);
    relay.mend();
    expect((await waiting).status).toBe('completed');
    await relay.close();
  });
});

describe('the login of a client', () => {
  const storeOf = (pair?: TokenPair) => {
    const store = {
      pair,
      writes: 0,
      read: () => store.pair,
      write(next: TokenPair) {
        store.pair = next;
        store.writes++;
      },
    };
    return store;
  };
  const logIn = async () => {
    const store = storeOf();
    await new Sutazai({ baseUrl: world.url, username: user.username, password: ADMIN_PASSWORD, tokens: store }).me();
    return store;
  };

  it('works with a name or an e-mail address and a password, and keeps the tokens', async () => {
    const store = await logIn();
    expect(store.pair?.expires_at).toBeGreaterThan(Date.now() + 60_000);
    expect((await new Sutazai({ baseUrl: world.url, tokens: store }).me()).username).toBe(user.username);
    const email = `${user.username}@example.com`;
    const byEmail = new Sutazai({ baseUrl: world.url, username: email, password: ADMIN_PASSWORD });
    expect((await byEmail.me()).email).toBe(email);
    const wrong = new Sutazai({ baseUrl: world.url, username: user.username, password: 'wrong horse battery' });
    await expect(wrong.me()).rejects.toMatchObject({ code: 'invalid_credentials' });
  });

  it.each<[string, Partial<TokenPair>]>([
    ['that has ended', { expires_at: Date.now() - 1 }],
    ['that is refused', { access_token: 'not.a.token' }],
  ])('exchanges a token %s, once for all calls that wait', async (_, spoilt) => {
    const { pair } = await logIn();
    const store = storeOf({ ...(pair as TokenPair), ...spoilt });
    const client = new Sutazai({ baseUrl: world.url, tokens: store });
    const all = await Promise.all(Array.from({ length: 5 }, () => client.me()));
    expect(new Set(all.map(({ id }) => id))).toEqual(new Set([user.userId]));
    expect(store.writes).toBe(1);
    expect(store.pair?.refresh_token).not.toBe(pair?.refresh_token);
  });

  it('takes the tokens of another process that was first', async () => {
    const { pair } = await logIn();
    const store = storeOf({ ...(pair as TokenPair), expires_at: 0 });
    const clients = Array.from({ length: 3 }, () => new Sutazai({ baseUrl: world.url, tokens: store }));
    const all = await Promise.all(clients.map((client) => client.me()));
    expect(all.map(({ id }) => id)).toEqual(Array(3).fill(user.userId));
  });

  it('ends with a session that was ended, unless there is a password', async () => {
    const store = await logIn();
    const client = new Sutazai({ baseUrl: world.url, tokens: store });
    const withPassword = { baseUrl: world.url, tokens: storeOf(store.pair), username: user.username };
    await client.logout();
    await expect(client.me()).rejects.toMatchObject({ status: 401, code: 'invalid_token' });
    expect((await new Sutazai({ ...withPassword, password: ADMIN_PASSWORD }).me()).id).toBe(user.userId);
  });
});
