import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { createLog } from '../../src/log.ts';
import { type LaneQueue, type LaneWorker, openQueueBackend, type QueueBackend } from '../../src/queues/backend.ts';
import { type LaneRunner, startLane } from '../../src/workers/lane.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { freePort, type PrivateRedis, startPrivateRedis } from '../support/redis.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { until } from '../support/until.ts';
import { BACKENDS, type Backend } from '../support/world.ts';

const log = createLog('silent');
const CHECK_MS = 30;
/** How many looks in a row it takes. */
const PATIENCE = 4;
/** So many looks are enough to call a worker stuck, and many more. */
const manyLooks = () => new Promise((resolve) => setTimeout(resolve, CHECK_MS * 30));

let done: string[];
let backend: QueueBackend;
let runner: LaneRunner | undefined;
let made: LaneWorker[];
let errors: number;
let closed: number;
beforeEach(() => {
  done = [];
  made = [];
  errors = 0;
  closed = 0;
  runner = undefined;
});

async function open(kind: Backend, urls: { redisUrl?: string; databaseUrl?: string } = {}): Promise<void> {
  const prefix = `t${randomBytes(6).toString('hex')}`;
  backend = await openQueueBackend({
    kind,
    redisUrl: inject('redisUrl'),
    databaseUrl: '',
    prefix,
    workers: 2,
    log,
    ...urls,
  });
}

interface Start {
  /** How many of the workers, the first ones, never fetch anything, as has been seen after outages. */
  dead?: number;
  work?: () => Promise<void>;
  /** Slots that are taken besides. */
  taken?: () => number;
  queue?: LaneQueue;
}

function start({ dead = 0, work = async () => {}, taken = () => 0, queue }: Start = {}): LaneRunner {
  let busy = 0;
  runner = startLane({
    lane: 'system',
    concurrency: 2,
    create() {
      const worker = backend.createWorker(
        'system',
        async (job) => {
          busy++;
          await work();
          busy--;
          done.push(job.data.id);
        },
        { autorun: false, runRetryDelay: 100, stalledInterval: 1_000 },
      );
      worker.on('error', () => errors++).on('closed', () => closed++);
      if (made.push(worker) <= dead) Object.assign(worker, { alive: worker.run.bind(worker), run: async () => {} });
      return worker;
    },
    queue: queue ?? backend.queue('system'),
    busy: () => busy + taken(),
    log,
    checkEveryMs: CHECK_MS,
  });
  return runner;
}
const add = (id: string, delay = 0) =>
  backend.queue('system').add('echo', { kind: 'task', id, generation: 0 }, { priority: 5, delay });
/** Idle, a worker waits for a word; with jobs in front of it, it asks for the next at once. */
async function startWithBacklog(): Promise<void> {
  for (let n = 0; n < 200; n++) await add(`backlog ${n}`);
  start({ work: () => new Promise((resolve) => setTimeout(resolve, 20)) });
  await until('it works on the backlog', () => done.length > 5);
}
const isDone = (id: string) => until(`${id} is done`, () => done.includes(id), { withinMs: 15_000 });
async function close(): Promise<void> {
  await runner?.stop()();
  await backend.close();
}

describe.each(BACKENDS)('a lane on %s', (kind) => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await createTestDatabase();
    await open(kind, { databaseUrl: database.url });
  });
  afterEach(async () => {
    await close();
    await database.close();
  });

  it('whose worker fetches nothing gets another one, and its jobs are done', async () => {
    start({ dead: 1 });
    await add('a');
    await isDone('a');
    expect(made).toHaveLength(2);
    // One whose first job took its time is a problem until the next look.
    await until('all is well', () => runner?.problem() === undefined);
    await until('the first is closed', () => closed === 1);
  });

  it('whose second worker fetches nothing either is named as a problem, until it moves', async () => {
    start({ dead: 2 });
    await add('a');
    const problem = await until('the problem is told', () => runner?.problem());
    expect(problem).toContain('system');
    await manyLooks();
    expect(made).toHaveLength(2);
    const [, second] = made as unknown as Array<{ alive(): Promise<void> }>;
    void second?.alive();
    await isDone('a');
    await until('all is well again', () => runner?.problem() === undefined);
  });

  it('keeps its worker where the last slot is taken while the store is asked what waits', async () => {
    let [looks, taken] = [0, 0];
    const real = backend.queue('system');
    const queue: LaneQueue = Object.create(real, {
      getJobs: {
        value: async (...asked: Parameters<LaneQueue['getJobs']>) => {
          if (++looks === PATIENCE) taken = 2;
          return real.getJobs(...asked);
        },
      },
    });
    start({ dead: 1, queue, taken: () => taken });
    await add('a');
    await until('it was asked', () => taken === 2);
    await manyLooks();
    expect(made).toHaveLength(1);
    taken = 0;
    await isDone('a');
  });

  it('keeps its worker where there is nothing to fetch: no jobs, only later ones, a pause, no free slot', async () => {
    let letGo = () => {};
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    start({ work: () => gate });
    await until('it is open', () => made[0]?.isRunning());
    await manyLooks();
    await add('later', 3_600_000);
    await manyLooks();
    await add('a');
    await add('b');
    await until('both slots are taken', async () => (await backend.queue('system').getActiveCount()) === 2);
    await add('c');
    await manyLooks();
    await backend.queue('system').pause();
    letGo();
    await until('two are done', () => done.length >= 2);
    await manyLooks();
    expect(made).toHaveLength(1);
    expect(runner?.problem()).toBeUndefined();
    await backend.queue('system').resume();
    await isDone('c');
  });
});

/** A worker that asks again at once brings thousands of errors a second; one that is braked, less than twenty. */
async function asksNowAndThen(): Promise<void> {
  const [before, since] = [errors, performance.now()];
  await until('it has asked again, and again', () => errors - before >= 20, { withinMs: 25_000 });
  expect((errors - before) / (performance.now() - since)).toBeLessThan(0.02);
}

describe('a lane whose jobs are in Postgres', () => {
  let database: TestDatabase;
  let relay: Relay;
  beforeEach(async () => {
    database = await createTestDatabase();
    relay = await startRelay(database.url);
    await open('postgres', { databaseUrl: relay.url });
  });
  afterEach(async () => {
    relay.mend();
    await close();
    await relay.close();
    await database.close();
  });

  it('asks now and then while the connections break, not all the time, and goes on afterwards', async () => {
    await startWithBacklog();
    relay.cut();
    await until('it has asked', () => errors > 3);
    await asksNowAndThen();
    relay.mend();
    await until('it takes jobs again', () => add('b').catch(() => undefined), { withinMs: 5_000 });
    await isDone('b');
  });

  it('opens when the database is there, where it was not at first', async () => {
    relay.cut();
    start();
    await until('it has tried twice', () => made.length > 1);
    relay.mend();
    await until('jobs can be added', () => add('a').catch(() => undefined), { withinMs: 5_000 });
    await isDone('a');
  });
});

describe('a lane whose Redis becomes a replica', () => {
  let redis: PrivateRedis;
  beforeEach(async () => {
    redis = await startPrivateRedis();
    await open('redis', { redisUrl: redis.url });
  });
  afterEach(async () => {
    await close();
    await redis.close();
  });

  it('asks now and then, not all the time, and goes on when it is a primary again', async () => {
    await startWithBacklog();
    await redis.command('REPLICAOF', '127.0.0.1', String(await freePort()));
    await until('it is refused', () => errors > 3, { withinMs: 15_000 });
    await asksNowAndThen();
    await redis.command('REPLICAOF', 'NO', 'ONE');
    await add('b');
    await isDone('b');
    expect(made).toHaveLength(1);
  });
});
