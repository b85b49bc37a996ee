import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { compareRowsAndJobs } from '../../support/agreement.ts';
import { defineCase } from '../rig/case.ts';
import { withLanes } from '../rig/lanes.ts';
import type { Rig } from '../rig/rig.ts';
import { lasting, must, until } from '../rig/wait.ts';

const MANY = 100_000;
const REBUILD_MS = 60_000;
/** The most that Redis can lose: nothing waits in Postgres alone. */
const ALL_HAVE_JOBS = { QUEUE_JOBS_MAX: '0' };

const echo = (priority = 5) => ({ type: 'echo', input: { message: 'x' }, priority });

/** Redis that forgets. */
export const redisLossCases = [
  defineCase({
    id: 'F5',
    title: 'FLUSHALL with 1,000 waiting and 20 running',
    backends: ['redis'],
    quick: true,
    run: (rig) => forget(rig, async () => void (await rig.redis.command('FLUSHALL'))),
  }),
  defineCase({
    id: 'F6',
    title: 'Redis is started again without its file, with 1,000 waiting and 20 running',
    backends: ['redis'],
    run: (rig) =>
      forget(rig, async () => {
        await rig.redis.signal('SIGTERM');
        await rig.redis.start({ empty: true });
      }),
  }),
  defineCase({
    id: 'F5',
    title: `FLUSHALL with ${MANY.toLocaleString('en')} waiting: all are back, the most urgent first`,
    backends: ['redis'],
    topology: { workers: 0, env: ALL_HAVE_JOBS },
    withinSeconds: 600,
    alone: true,
    async run(rig) {
      await rig.client.loadBatches(Array.from({ length: MANY }, () => echo(1 + Math.floor(10 * Math.random()))));
      const isFull = async () => Number(await rig.redis.command('ZCARD', 'sutazai:system:prioritized')) >= MANY;
      await until('every job is there', isFull, 60_000);
      await rig.redis.command('FLUSHALL');
      const { tookMs } = await until('every job is back', isFull, 2 * REBUILD_MS, 250);
      rig.note(`back after ${(tookMs / 1000).toFixed(1)} s`);
      must(tookMs <= REBUILD_MS, `the jobs were back after ${tookMs} ms`);
      // Once more, with a worker that takes what there is.
      await rig.redis.command('FLUSHALL');
      await rig.join('worker');
      await until('the end of every task', async () => (await waiting(rig)) === 0, 400_000, 500);
      // Between neighbours a task may slip through that a worker had already taken.
      const [early] = await rig.postgres.query<{ priority: number; n: number }>(
        `with started as materialized (
           select priority, row_number() over (order by started_at) as place from tasks where input ->> 'message' = 'x'),
         ends as materialized (select priority, max(place) as place from started group by priority)
         select priority, count(*)::int as n from started s
         join (select s.priority, max(e.place) as last from ends s join ends e on e.priority < s.priority group by 1) u
           using (priority)
         where s.place < u.last - 200
         group by priority order by n desc limit 1`,
      );
      must(!early, `${early?.n} tasks of priority ${early?.priority} ran long before more urgent ones`);
    },
  }),
  defineCase({
    id: 'F7',
    title: 'Redis is killed under adds, and has lost its last second when it is back',
    backends: ['redis'],
    topology: { apis: 2 },
    async run(rig) {
      for (let round = 0; round < 3; round++) {
        const load = Promise.all(
          Array.from({ length: 2 }, () => rig.client.loadBatches(Array.from({ length: 4_000 }, () => echo()))),
        );
        await lasting(300 + 500 * Math.random());
        await rig.redis.signal('SIGKILL');
        await lasting(500);
        await rig.redis.start();
        await load;
      }
      rig.note(`${rig.client.book.accepted.size} accepted over three kills`);
    },
  }),
  defineCase({
    id: 'F37',
    title: 'Redis comes back with what it held before a thousand tasks ran',
    backends: ['redis'],
    topology: { env: ALL_HAVE_JOBS },
    async run(rig) {
      const gate = holdAgent(rig);
      await rig.client.loadBatches(Array.from({ length: 1_000 }, () => rig.agentTask()));
      await until('the workers are busy', () => rig.agent.busy() >= 40);
      await rig.redis.command('BGREWRITEAOF');
      await until('the file is written', async () =>
        /aof_rewrite_in_progress:0/.test(String(await rig.redis.command('INFO', 'persistence'))),
      );
      const [file, copy] = [join(rig.redis.folder, 'appendonlydir'), join(rig.redis.folder, 'older')];
      await cp(file, copy, { recursive: true });
      const old = await jobsIn(rig);
      must(old > 500, `the copy holds ${old} jobs only`);
      gate.open();
      await until('the end of every task', async () => (await waiting(rig)) === 0, 60_000);
      const effects = rig.agent.ledger.length;

      await rig.redis.signal('SIGTERM');
      await rm(file, { recursive: true });
      await cp(copy, file, { recursive: true });
      await rig.redis.start();
      const { tookMs } = await until('what it brought back is gone', async () => (await jobsIn(rig)) === 0, REBUILD_MS);
      must(rig.agent.ledger.length === effects, 'tasks that had ended ran again');
      rig.note(`${old} jobs of ended tasks were gone after ${(tookMs / 1000).toFixed(1)} s`);
    },
  }),
  ...[3, 15, 45, 120].flatMap((seconds) => [outage(seconds, 'idle'), outage(seconds, 'busy')]),
];

/** 1,000 wait and 20 run when Redis forgets; nobody is started again. */
async function forget(rig: Rig, loss: () => Promise<void>): Promise<void> {
  const gate = holdAgent(rig);
  await rig.client.loadBatches(Array.from({ length: 1_020 }, () => rig.agentTask()));
  await until('the workers are busy', () => rig.agent.busy() >= 20);
  await loss();
  const lost = Date.now();
  await until('every waiting task has a job', () => nothingLacks(rig), REBUILD_MS, 100);
  rig.note(`back after ${((Date.now() - lost) / 1000).toFixed(1)} s`);
  gate.open();
}

/** The agent does not answer until it is told to. */
function holdAgent(rig: Rig): { open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  rig.agent.script = async () => {
    await opened;
    return false;
  };
  return { open };
}

/** Working again, not only connected again, is what counts: a task that was accepted meanwhile, or waited, is done. */
function outage(seconds: number, state: 'idle' | 'busy') {
  return defineCase({
    id: 'F9',
    title: `Redis is away for ${seconds} s while ${state}`,
    backends: ['redis'],
    quick: seconds === 3 && state === 'busy',
    withinSeconds: 120 + seconds,
    async run(rig) {
      let over = false;
      const work =
        state === 'busy'
          ? rig.client.load(
              Array.from({ length: 50_000 }, () => rig.agentTask(20)),
              { perSecond: 40, atOnce: 16, until: () => over },
            )
          : undefined;
      await lasting(1_000);
      await rig.redis.signal('SIGKILL');
      const down = Date.now();
      await lasting(1_000);
      rig.client.book.waits.length = 0;
      const meanwhile = [await rig.client.insist(echo()), await rig.client.insist(echo())];
      await lasting(seconds * 1_000 - (Date.now() - down));
      const slowest = Math.max(...rig.client.book.waits);
      must(slowest < 1_000, `a submission took ${Math.round(slowest)} ms while Redis was away`);
      await rig.redis.start();
      const back = Date.now();
      await until('what was accepted meanwhile is done', () => allCompleted(rig, meanwhile), 60_000);
      const tookMs = Date.now() - back;
      rig.note(`working again ${(tookMs / 1000).toFixed(1)} s after its return`);
      must(tookMs <= 10_000, `it took ${tookMs} ms until work went on`);
      over = true;
      await work;
    },
  });
}

async function allCompleted(rig: Rig, ids: string[]): Promise<boolean> {
  const [row] = await rig.postgres.query<{ n: number }>(
    `select count(*)::int as n from tasks where id = any($1::uuid[]) and status = 'completed'`,
    [ids],
  );
  return row?.n === ids.length;
}

async function waiting(rig: Rig): Promise<number> {
  const [row] = await rig.postgres.query<{ n: number }>(
    `select count(*)::int as n from tasks where status in ('scheduled', 'pending', 'running', 'cancelling')`,
  );
  return row?.n ?? 0;
}

/** How many jobs wait or are delayed, over all lanes. */
const jobsIn = (rig: Rig) =>
  withLanes(rig, async ({ backend }) => {
    const counts = await Promise.all(
      (['agent', 'system'] as const).map((lane) =>
        backend.queue(lane).getJobCounts('prioritized', 'delayed', 'waiting'),
      ),
    );
    return counts.flatMap((count) => Object.values(count)).reduce((sum, count) => sum + count, 0);
  });

const nothingLacks = (rig: Rig) =>
  withLanes(rig, async ({ db, backend }) => (await compareRowsAndJobs(db, backend)).lacking.length === 0);
