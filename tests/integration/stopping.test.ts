import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sutazai, spawnSutazai } from '../support/process.ts';
import { dataFolder } from '../support/product.ts';
import { type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Client, createWorld, type World } from '../support/world.ts';

const GRACE_S = 1;
/** What is promised: the grace and five seconds. */
const BOUND_MS = (GRACE_S + 5) * 1_000;
const chat = { messages: [{ role: 'user', content: 'hello' }] };

/** Sends SIGTERM; answers how it ended, and fails where that took too long. */
async function stop(sutazai: Sutazai, withinMs = BOUND_MS): Promise<number | string> {
  const asked = performance.now();
  const code = await sutazai.kill('SIGTERM');
  expect(performance.now() - asked, sutazai.output()).toBeLessThan(withinMs);
  return code;
}

describe.each(BACKENDS)('a process on %s that is told to stop', (backend) => {
  let world: World;
  let client: Client;
  let redis: PrivateRedis;
  let postgres: Relay;
  let sutazai: Sutazai | undefined;
  beforeEach(async () => {
    redis = await startPrivateRedis();
    world = await createWorld({ backend, env: { REDIS_URL: redis.url, WORKER_LANES: 'webhook' } });
    client = await world.client();
    postgres = await startRelay(world.databaseUrl);
  });
  afterEach(async () => {
    await sutazai?.kill('SIGKILL');
    await redis.signal('SIGCONT');
    await postgres.close();
    await world.close();
    await redis.close();
  });

  function spawn(command: 'api' | 'worker', env: Record<string, string> = {}): Sutazai {
    sutazai = spawnSutazai([command], {
      ...world.env,
      DATABASE_URL: postgres.url,
      WORKER_LANES: 'llm,system',
      SHUTDOWN_GRACE_SECONDS: String(GRACE_S),
      LOG_LEVEL: 'info',
      ...env,
    });
    return sutazai;
  }
  const isUp = (one: Sutazai) =>
    until('it is up', () => /is up/.test(one.output()), { withinMs: 25_000 }).catch((error) => {
      throw new Error(`${error.message}: ${one.output()}`);
    });
  async function busyWorker(env?: Record<string, string>): Promise<{ worker: Sutazai; id: string }> {
    const worker = spawn('worker', env);
    await isUp(worker);
    world.ollama.script = () => true;
    const called = world.ollama.nextCall('/api/chat');
    const { id } = await client.submit('chat', chat);
    await called;
    return { worker, id };
  }
  const row = (id: string) => world.db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

  const TROUBLES: Record<string, () => Promise<unknown> | unknown> = {
    'nothing is wrong': () => {},
    'Postgres breaks': () => postgres.cut(),
    'Postgres is frozen': () => postgres.set('stall'),
    'Redis is down': () => redis.signal('SIGKILL'),
    'Redis is frozen': () => redis.signal('SIGSTOP'),
    'both are frozen': () => {
      postgres.set('stall');
      return redis.signal('SIGSTOP');
    },
  };
  const apart = Object.keys(TROUBLES).filter((name) => backend === 'redis' || !/Redis|both/.test(name));

  it.each(apart)('ends well when it has nothing to hand back and %s', async (trouble) => {
    const worker = spawn('worker');
    await isUp(worker);
    await TROUBLES[trouble]?.();
    expect(await stop(worker), worker.output()).toBe(0);
  });

  it('ends in time and not well when what it runs cannot be handed back, because the database is frozen', async () => {
    const { worker } = await busyWorker();
    postgres.set('stall');
    expect(await stop(worker), worker.output()).toBe(1);
    expect(worker.output()).toContain('their leases run out');
  });

  it('ends an API in time while the database is frozen', async () => {
    const api = spawn('api');
    await isUp(api);
    postgres.set('stall');
    expect(await stop(api), api.output()).toBe(0);
  });

  it('gives up a start that waits for the database', async () => {
    postgres.set('stall');
    const worker = spawn('worker');
    await until('it asks the database', () => postgres.connections() > 0, { withinMs: 25_000 });
    expect(await stop(worker, 5_000), worker.output()).toBe(0);
    expect(worker.output()).not.toMatch(/is up|Error/);
  });

  it.runIf(backend === 'redis')('hands back what it runs while Redis is frozen', async () => {
    const { worker, id } = await busyWorker();
    await redis.signal('SIGSTOP');
    expect(await stop(worker), worker.output()).toBe(0);
    expect(await row(id)).toMatchObject({ status: 'pending', generation: 1, failures: 0, losses: 0 });
  });

  it('takes nothing new at once, and another worker has its task within five seconds after the grace', async () => {
    const { worker, id } = await busyWorker();
    world.ollama.script = undefined;
    const stopped = stop(worker);
    // A word on a connection of its own comes after the signal was heard.
    await until('it says so', () => worker.output().includes('stopping;'));
    const later = await client.submit('echo', { message: 'later' });
    expect(await stopped, worker.output()).toBe(0);
    expect(await row(id)).toMatchObject({ status: 'pending', generation: 1, failures: 0, losses: 0 });
    expect((await row(later.id)).attempt).toBe(0);
    const other = spawn('worker');
    await isUp(other);
    const up = performance.now();
    expect(await client.waitForEnd(id)).toMatchObject({ status: 'completed', attempt: 2 });
    expect(performance.now() - up).toBeLessThan(5_000);
    await client.waitForEnd(later.id);
    expect(await stop(other), other.output()).toBe(0);
  });
});

it('an embedded Postgres whose start is given up is stopped too, and so is the process', async () => {
  const folder = dataFolder();
  const started = spawnSutazai(['start'], folder.env);
  const pidFile = join(folder.dir, 'postgres', 'cluster', 'postmaster.pid');
  const pid = await until(
    'Postgres starts',
    () => existsSync(pidFile) && Number.parseInt(readFileSync(pidFile, 'utf8'), 10),
    {
      withinMs: 25_000,
      everyMs: 5,
    },
  );
  expect(await stop(started, 5_000), started.output()).toBe(0);
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  expect(existsSync(pidFile)).toBe(false);
  await folder.remove();
});
