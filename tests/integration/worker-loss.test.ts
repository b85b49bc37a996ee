import { sql } from 'kysely';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { listAttempts } from '../../src/db/tasks/read.ts';
import type { PresentedTask } from '../../src/tasks/present.ts';
import { spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const chat = { messages: [{ role: 'user', content: 'hello' }] };
const NO_WORK = { WORKER_LANES: 'webhook' };

describe.each(BACKENDS)('on %s', (backend) => {
  let world: World;
  let client: Client;
  afterEach(() => world?.close());

  async function start(env: Record<string, string>): Promise<void> {
    world = await createWorld({ backend, env: { ...NO_WORK, ...env } });
    client = await world.client();
  }
  const ledger = async (id: string) =>
    (await listAttempts(world.db, id)).map(({ attempt, outcome }) => [attempt, outcome]);
  const row = (id: string) => world.db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
  const submitHanging = async (): Promise<PresentedTask> => {
    world.ollama.script = () => true;
    const called = world.ollama.nextCall('/api/chat');
    const task = await client.submit('chat', chat);
    await called;
    return task;
  };

  it('a worker that stops waits for what it runs', async () => {
    await start({ SHUTDOWN_GRACE_SECONDS: '10' });
    const worker = await world.join('worker', { WORKER_LANES: 'llm' });
    let answer = () => {};
    world.ollama.script = () =>
      new Promise((resolve) => {
        answer = () => resolve(false);
      });
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', chat);
    await called;
    const closing = worker.close();
    const waiting = await client.submit('chat', chat);
    answer();
    await closing;
    expect(await ledger(id)).toEqual([[1, 'completed']]);
    // It took nothing new.
    expect((await row(waiting.id)).status).toBe('pending');
  });

  it('a worker that has to stop gives its task back, and another starts it at once without a failure', async () => {
    await start({ SHUTDOWN_GRACE_SECONDS: '0' });
    const worker = await world.join('worker', { WORKER_LANES: 'llm' });
    const { id } = await submitHanging();
    world.ollama.script = undefined;
    await worker.close();
    expect(await row(id)).toMatchObject({ status: 'pending', generation: 1, failures: 0, losses: 0 });
    const started = Date.now();
    await world.join('worker', { WORKER_LANES: 'llm' });
    const task = await client.waitForEnd(id);
    expect(Date.now() - started).toBeLessThan(5_000);
    expect(task).toMatchObject({ status: 'completed', attempt: 2 });
    expect(await ledger(id)).toEqual([
      [1, 'released'],
      [2, 'completed'],
    ]);
  });

  it('a worker that cannot renew its lease loses the task to another, and its late word changes nothing', async () => {
    await start({ LEASE_SECONDS: '2' });
    await world.join('worker', { WORKER_LANES: 'llm' });
    const answers: Array<() => void> = [];
    world.ollama.script = () => new Promise((resolve) => answers.push(() => resolve(false)));
    const { id } = await client.submit('chat', chat);
    await until('the first attempt calls the model', () => answers.length === 1);
    // What a network between worker and database does: whatever the worker says of this attempt comes too late.
    await sql`create function too_late() returns trigger language plpgsql as
      $$ begin if new.attempt = 1 and new.status = 'running' and old.status = 'running' then return null; end if; return new; end $$`.execute(
      world.db,
    );
    await sql`create trigger too_late before update on tasks for each row execute function too_late()`.execute(
      world.db,
    );
    await until('the second attempt calls the model', () => answers.length === 2);
    expect(await row(id)).toMatchObject({ status: 'running', attempt: 2, losses: 1 });
    answers[0]?.();
    answers[1]?.();
    const task = await client.waitForEnd(id);
    expect(task).toMatchObject({ status: 'completed', attempt: 2 });
    expect(await ledger(id)).toEqual([
      [1, 'lost'],
      [2, 'completed'],
    ]);
  });

  it('a result is kept while the database is away, and written when it is back', async () => {
    await start({});
    await world.join('worker', { WORKER_LANES: 'llm' });
    let answer = () => {};
    world.ollama.script = () =>
      new Promise((resolve) => {
        answer = () => resolve(false);
      });
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', chat);
    const { closedEarly } = await called;
    const { pathname } = new URL(world.databaseUrl);
    const elsewhere = Object.assign(new URL(world.databaseUrl), { pathname: '/postgres' });
    const admin = new pg.Client({ connectionString: elsewhere.href });
    await admin.connect();
    const open = (yes: boolean) => admin.query(`alter database ${pathname.slice(1)} allow_connections ${yes}`);
    await open(false);
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [pathname.slice(1)]);
    answer();
    expect(await closedEarly).toBe(false);
    // Time enough for the attempt to write it, which is refused like these.
    for (let refused = 0; refused < 30; refused++) await expect(row(id)).rejects.toThrow();
    await open(true);
    await admin.end();
    const ended = await until('the outcome is written', async () => {
      const task = await row(id).catch(() => undefined);
      return task?.status === 'completed' && task;
    });
    expect(ended).toMatchObject({ attempt: 1, losses: 0 });
    expect(world.ollama.calls).toHaveLength(1);
  });

  it('a worker that is killed loses nothing: another one does its tasks', async () => {
    await start({ LEASE_SECONDS: '2' });
    world.ollama.script = () => true;
    const env = { ...world.env, WORKER_LANES: 'llm', WORKER_CONCURRENCY: '3' };
    const victim = spawnSutazai(['worker'], env);
    const batch = { tasks: Array.from({ length: 5 }, () => ({ type: 'chat', input: chat })) };
    const { body } = await client.request<{ tasks: PresentedTask[] }>('POST', '/api/v1/tasks/batch', batch);
    await until('three tasks run', () => world.ollama.calls.length === 3).catch((error) => {
      throw new Error(`${error.message}: ${victim.output()}`);
    });
    expect(await victim.kill('SIGKILL')).toBe('SIGKILL');
    world.ollama.script = undefined;
    const healthy = spawnSutazai(['worker'], env);
    const tasks = await Promise.all(body.tasks.map(({ id }) => client.waitForEnd(id)));
    expect(tasks.map(({ status }) => status)).toEqual(Array(5).fill('completed'));
    const ledgers = await Promise.all(tasks.map(({ id }) => ledger(id)));
    expect(ledgers.filter((entries) => entries.length === 2)).toEqual(
      Array(3).fill([
        [1, 'lost'],
        [2, 'completed'],
      ]),
    );
    expect(ledgers.filter((entries) => entries.length === 1)).toEqual(Array(2).fill([[1, 'completed']]));
    expect(await healthy.kill('SIGTERM'), healthy.output()).toBe(0);
  });
});
