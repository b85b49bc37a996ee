import { defineCase } from '../rig/case.ts';
import type { Rig } from '../rig/rig.ts';
import { freePort, lasting, must, until } from '../rig/wait.ts';

/** How long a submission may take while something is silent. */
const ANSWER_MS = 5_000;

/** Redis that hangs, is out of reach without a word, or must not be trusted. */
export const redisSilenceCases = [
  defineCase({
    id: 'F10',
    title: 'Redis hangs for 40 s with its connections open',
    backends: ['redis'],
    withinSeconds: 180,
    run: (rig) =>
      underLoad(rig, async () => {
        await rig.redis.signal('SIGSTOP');
        await rig.readiness.becomes('degraded', 10_000);
        await lasting(40_000);
        await rig.redis.signal('SIGCONT');
      }),
  }),
  defineCase({
    id: 'F11',
    title: 'nothing comes through to Redis for 60 s, and no connection breaks',
    backends: ['redis'],
    withinSeconds: 200,
    run: (rig) =>
      underLoad(rig, async () => {
        rig.redis.proxy.set({ kind: 'blackhole' });
        await rig.readiness.becomes('degraded', 10_000);
        await lasting(60_000);
        rig.redis.proxy.set({ kind: 'pass' });
      }),
  }),
  defineCase({
    id: 'F11',
    title: 'a network forgets all connections to the store of the jobs and to Postgres',
    async run(rig) {
      // Idle workers wait for a word, which is where nobody would notice.
      for (const store of rig.redis ? [rig.redis, rig.postgres] : [rig.postgres]) store.proxy.forget();
      const forgotten = Date.now();
      const id = await rig.client.insist(rig.agentTask());
      await until('it is done', () => isDone(rig, id), 30_000);
      rig.note(`noticed, and a task done after ${seconds(forgotten)} s`);
    },
  }),
  defineCase({
    id: 'F13',
    title: 'the policy of Redis becomes one that evicts, and the hashes of jobs are gone',
    backends: ['redis'],
    async run(rig) {
      await rig.redis.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
      const told = await rig.readiness.becomes('degraded', 5_000);
      // The workers are away while jobs are added and half lost.
      for (const worker of rig.workers) worker.signal('SIGTERM');
      await Promise.all(rig.workers.map((worker) => worker.ended()));
      const ids = await rig.client.load(
        Array.from({ length: 50 }, () => rig.agentTask()),
        { insist: true },
      );
      const all = (await rig.redis.command('KEYS', 'sutazai:*_g0')) as string[];
      const hashes = all.filter((key) => ids.some((id) => key.endsWith(`:${id}_g0`)));
      must(hashes.length === 50, `there are ${hashes.length} jobs for 50 tasks`);
      await rig.redis.command('DEL', ...hashes);
      for (const worker of rig.workers) await worker.start();
      await until('all are done once', async () =>
        (await Promise.all(ids.map((id) => isDone(rig, id)))).every(Boolean),
      );
      must(rig.agent.ledger.length === 50, `the agent was called ${rig.agent.ledger.length} times for 50 tasks`);
      await rig.redis.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
      const well = await rig.readiness.becomes('ready', 5_000);
      rig.note(`told after ${told} ms, well again after ${well} ms`);
    },
  }),
  defineCase({
    id: 'F14',
    title: 'Redis is a replica for 20 s and takes no writes',
    backends: ['redis'],
    async run(rig) {
      await underLoad(rig, async () => {
        await rig.redis.command('REPLICAOF', '127.0.0.1', await freePort());
        await rig.readiness.becomes('degraded', 5_000);
        await lasting(20_000);
        await rig.redis.command('REPLICAOF', 'NO', 'ONE');
      });
      await noFailures(rig);
    },
  }),
  defineCase({
    id: 'F15',
    title: 'Redis is killed and loads a file of 500 MB',
    backends: ['redis'],
    alone: true,
    withinSeconds: 240,
    topology: { redis: { 'auto-aof-rewrite-percentage': '0' } },
    async run(rig) {
      const script = `for i = 1, 100 do redis.call('set', 'filler:' .. KEYS[1] .. ':' .. i, string.rep('x', 50000)) end`;
      for (let n = 0; n < 100; n++) await rig.redis.command('EVAL', script, 1, n);
      await underLoad(rig, async () => {
        await rig.redis.signal('SIGKILL');
        await rig.redis.start();
        await rig.readiness.becomes('ready', 60_000);
      });
      await noFailures(rig);
      const clean = `for i = 1, 100 do redis.call('unlink', 'filler:' .. KEYS[1] .. ':' .. i) end`;
      for (let n = 0; n < 100; n++) await rig.redis.command('EVAL', clean, 1, n);
    },
  }),
];

const seconds = (since: number) => ((Date.now() - since) / 1000).toFixed(1);

async function isDone(rig: Rig, id: string): Promise<boolean> {
  const rows = await rig.postgres.query(`select 1 from tasks where id = $1 and status = 'completed'`, [id]);
  return rows.length === 1;
}

/** Makes the fault under 50 submissions a second; looks at each answer, and how soon a new task is done afterwards. */
async function underLoad(rig: Rig, fault: () => Promise<void>): Promise<void> {
  let over = false;
  const load = rig.client.load(
    Array.from({ length: 50_000 }, () => rig.agentTask(200)),
    { perSecond: 50, atOnce: 64, until: () => over },
  );
  await until('a busy agent', () => rig.agent.busy() > 2);
  await fault();
  const healed = Date.now();
  over = true;
  await load;
  const fresh = await rig.client.insist(rig.agentTask(0, { priority: 1 }));
  await until('a new task is done', () => isDone(rig, fresh), 30_000);
  const again = seconds(healed);
  const others = [...rig.client.book.answers.keys()].filter((status) => status !== 202 && status !== 503);
  must(others.length === 0, `submissions were answered ${others.join(', ')} beside 202 and 503`);
  const slowest = Math.max(...rig.client.book.waits);
  must(slowest < ANSWER_MS, `a submission took ${Math.round(slowest)} ms`);
  rig.note(`working again ${again} s after it was healed; slowest answer ${(slowest / 1000).toFixed(1)} s`);
}

/** A store that is ill is no fault of a task. */
async function noFailures(rig: Rig): Promise<void> {
  const failed = await rig.postgres.query(`select 1 from attempts where outcome in ('failed', 'retry')`);
  must(failed.length === 0, `${failed.length} attempts count as failed`);
}
