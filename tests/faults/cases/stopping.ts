import { defineCase } from '../rig/case.ts';
import { blockLoop, INSPECTABLE } from '../rig/inspect.ts';
import type { Member } from '../rig/process.ts';
import type { Rig } from '../rig/rig.ts';
import { freePort, lasting, must, until } from '../rig/wait.ts';

/** Processes that are told to stop, or that hang. */
export const stoppingCases = [
  defineCase({
    id: 'F18',
    title: 'a worker is told to stop with tasks of two minutes and a grace of 30 s',
    topology: { workers: 1, env: { SHUTDOWN_GRACE_SECONDS: '30' } },
    withinSeconds: 260,
    async run(rig) {
      const ids = await rig.client.load(
        Array.from({ length: 10 }, () => rig.agentTask(120_000)),
        { insist: true },
      );
      await until('ten calls', () => rig.agent.busy() === 10);
      // Only the first run of each takes so long.
      rig.agent.script = (order, response) => {
        if (order.sleep_ms !== 120_000) return false;
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ effect: rig.agent.ledger.length }));
        return true;
      };
      const [first] = rig.workers as [Member];
      const second = await rig.join('worker');
      first.signal('SIGTERM');
      const told = Date.now();
      await lasting(1_000);
      const later = await rig.client.load(
        Array.from({ length: 30 }, () => rig.agentTask(50)),
        { insist: true },
      );
      const code = await first.ended();
      const took = (Date.now() - told) / 1000;
      must(code === 0, `it ended with ${code}`);
      must(took < 35.5, `it took ${took.toFixed(1)} s to end`);
      must(took > 29, `it did not wait for its tasks: it ended after ${took.toFixed(1)} s`);
      await until('all are taken over', async () => (await outcomes(rig, ids)).length === 20, 10_000);
      const strangers = await rig.postgres.query(
        `select 1 from attempts where task_id = any($1::uuid[]) and worker not like '%:' || $2::text`,
        [later, second.pid],
      );
      must(strangers.length === 0, `it took ${strangers.length} tasks a second after it was told to stop`);
      const [slowest] = await rig.postgres.query<{ ms: number }>(
        `select max(extract(epoch from b.started_at - a.ended_at) * 1000)::int as ms
         from attempts a join attempts b on b.task_id = a.task_id and b.attempt = a.attempt + 1 where a.outcome = 'released'`,
      );
      must((slowest?.ms ?? Infinity) < 5_000, `a task that was given back waited ${slowest?.ms} ms`);
      rig.note(`ended after ${took.toFixed(1)} s; taken over within ${slowest?.ms} ms`);
    },
  }),
  defineCase({
    id: 'F19',
    title: 'busy workers are told to stop while Redis is down, and while it hangs',
    backends: ['redis'],
    topology: { env: { SHUTDOWN_GRACE_SECONDS: '2' } },
    async run(rig) {
      for (const trouble of ['SIGKILL', 'SIGSTOP'] as const) {
        await rig.client.load(
          Array.from({ length: 20 }, () => rig.agentTask(8_000)),
          { insist: true },
        );
        await until('twenty calls', () => rig.agent.busy() === 20);
        await rig.redis.signal(trouble);
        await stopAll(rig, rig.workers, 2, 0);
        const running = await rig.postgres.query(`select 1 from tasks where status = 'running'`);
        must(running.length === 0, `${running.length} tasks were not given back`);
        if (trouble === 'SIGKILL') await rig.redis.start();
        else await rig.redis.signal('SIGCONT');
        for (const worker of rig.workers) await worker.start();
      }
    },
  }),
  defineCase({
    id: 'F19',
    title: 'idle processes are told to stop while Postgres hangs, and busy ones while it is gone',
    topology: { env: { SHUTDOWN_GRACE_SECONDS: '2' } },
    async run(rig) {
      await rig.postgres.signal('SIGSTOP');
      await stopAll(rig, rig.members, 2, 0);
      await rig.postgres.signal('SIGCONT');
      for (const member of rig.members) await member.start();
      await rig.readiness.becomes('ready', 10_000);
      await rig.client.load(
        Array.from({ length: 20 }, () => rig.agentTask(8_000)),
        { insist: true },
      );
      await until('twenty calls', () => rig.agent.busy() === 20);
      rig.postgres.proxy.set({ kind: 'gone' });
      // What they ran cannot be given back, and they say so.
      await stopAll(rig, rig.workers, 2, 1);
      rig.postgres.proxy.set({ kind: 'pass' });
      for (const worker of rig.workers) await worker.start();
    },
  }),
  defineCase({
    id: 'F20',
    title: 'the main loop of a worker is blocked for 45 s',
    topology: { workers: 0 },
    withinSeconds: 180,
    async run(rig) {
      const port = await freePort();
      const blocked = await rig.join('worker', { HEALTH_PORT: String(port) }, [INSPECTABLE]);
      const health = async () =>
        (await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(2_000) })).status;
      must((await health()) === 200, 'it was not well before');
      const ids = await rig.client.load(
        Array.from({ length: 10 }, () => rig.agentTask(5_000)),
        { insist: true },
      );
      await until('ten calls', () => rig.agent.busy() === 10);
      await blockLoop(blocked, 45_000);
      const since = Date.now();
      const other = await rig.join('worker');
      const unwell = await until('it is called stuck', async () => (await health()) === 503, 15_000);
      await until(
        'the other has done its tasks',
        async () => {
          const rows = await rig.postgres.query(
            `select 1 from tasks where id = any($1::uuid[]) and status = 'completed' and attempt = 2 and worker like '%:' || $2::text`,
            [ids, other.pid],
          );
          return rows.length === 10;
        },
        44_000 - (Date.now() - since),
      );
      const done = Date.now() - since;
      await lasting(46_000 - done);
      const well = await until('it is well again', async () => (await health()) === 200, 5_000);
      // Whatever it says of its attempts now comes too late.
      await lasting(3_000);
      const all = (await outcomes(rig, ids)).toSorted();
      must(
        all.join() === [...Array(10).fill('completed'), ...Array(10).fill('lost')].join(),
        `the attempts ended as ${all.join()}`,
      );
      const fresh = await rig.client.load(
        Array.from({ length: 60 }, () => rig.agentTask(300)),
        { insist: true },
      );
      await until('it takes tasks again', async () => {
        const rows = await rig.postgres.query(
          `select 1 from tasks where id = any($1::uuid[]) and worker like '%:' || $2::text`,
          [fresh, blocked.pid],
        );
        return rows.length > 0;
      });
      rig.note(
        `called stuck after ${(unwell.tookMs / 1000).toFixed(1)} s, its tasks done by another after ${(done / 1000).toFixed(1)} s, well again within ${(well.tookMs / 1000).toFixed(1)} s`,
      );
    },
  }),
];

async function outcomes(rig: Rig, ids: string[]): Promise<string[]> {
  const rows = await rig.postgres.query<{ outcome: string }>(
    `select outcome from attempts where task_id = any($1::uuid[])`,
    [ids],
  );
  return rows.map(({ outcome }) => outcome);
}

/** Tells processes to stop; each has to end with this code within its grace and five seconds. */
async function stopAll(rig: Rig, members: Member[], graceSeconds: number, code: number): Promise<void> {
  const told = Date.now();
  for (const member of members) member.signal('SIGTERM');
  const ended = await Promise.all(
    members.map(async (member) => ({ name: member.name, code: await member.ended(), ms: Date.now() - told })),
  );
  for (const each of ended) {
    must(each.code === code, `${each.name} ended with ${each.code} and not with ${code}`);
    must(each.ms < (graceSeconds + 5.3) * 1000, `${each.name} took ${each.ms} ms to end`);
  }
  rig.note(`ended within ${(Math.max(...ended.map(({ ms }) => ms)) / 1000).toFixed(1)} s`);
}
