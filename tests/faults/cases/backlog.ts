import { defineCase } from '../rig/case.ts';
import { withLanes } from '../rig/lanes.ts';
import type { Rig } from '../rig/rig.ts';
import { lasting, must, quantile, until } from '../rig/wait.ts';

const POISON = 'poison';
const MANY = 1_000_000;
const AGING_SECONDS = 1;

const echo = (priority = 5) => ({ type: 'echo', input: { message: 'x' }, priority });

/** What a few tasks or very many do to the others. */
export const backlogCases = [
  defineCase({
    id: 'F24',
    title: 'a task kills every worker that runs it',
    async run(rig) {
      const wait = async (until: () => boolean) => {
        const since = new Date();
        await rig.client.load(
          Array.from({ length: 10_000 }, () => rig.agentTask(50)),
          { perSecond: 40, atOnce: 16, insist: true, until },
        );
        return waitsSince(rig, since);
      };
      const enough = Date.now() + 20_000;
      const before = await wait(() => Date.now() > enough);
      let kills = 0;
      rig.agent.script = async (order, _response, key) => {
        if (order.way !== POISON) return false;
        kills++;
        await killWorkerOf(rig, key);
        return true;
      };
      const id = await rig.client.insist({
        ...rig.agentTask(),
        input: { method: 'POST', url: rig.agent.url, body: { way: POISON } },
        priority: 10,
      });
      let over = false;
      const during = wait(() => over);
      await until(
        'the end of the poisonous task',
        async () => (await statusOf(rig, id))?.status === 'failed',
        100_000,
        200,
      );
      const end = await statusOf(rig, id);
      must(
        end?.code === 'poison' && end.attempt === 3 && kills === 3,
        `it ended as ${JSON.stringify(end)} after ${kills} kills`,
      );
      over = true;
      const after = await during;
      // Below a second there is nothing to compare.
      must(after <= Math.max(2 * before, 1_000), `the others waited ${after} ms (p99), ${before} ms before`);
      rig.note(`others waited ${before} ms (p99) before and ${after} ms during three kills`);
    },
  }),
  defineCase({
    id: 'F54',
    title: 'tasks of priority 1 without end, and one of priority 10',
    topology: { workers: 1, env: { PRIORITY_AGING_SECONDS: String(AGING_SECONDS), WORKER_CONCURRENCY: '2' } },
    async run(rig) {
      let over = false;
      const load = rig.client.load(
        Array.from({ length: 50_000 }, () => rig.agentTask(50, { priority: 1 })),
        { perSecond: 60, atOnce: 16, until: () => over, insist: true },
      );
      await lasting(5_000);
      const id = await rig.client.insist(echoOnAgentLane(rig));
      await until('the patient task', async () => (await statusOf(rig, id))?.status === 'completed', 90_000);
      over = true;
      await rig.join('worker', { WORKER_CONCURRENCY: '40' });
      const [row] = await rig.postgres.query<{ before: number; overtaken: number; last: number }>(
        `select count(*)::int as overtaken, max(extract(epoch from u.created_at - p.created_at))::float as last
         from tasks p join tasks u on u.priority = 1 and u.created_at > p.created_at and u.started_at < p.started_at
         where p.id = $1`,
        [id],
      );
      must((row?.overtaken ?? 0) > 100, `only ${row?.overtaken} more urgent ones went first: the lane was not full`);
      const bound = 9 * AGING_SECONDS;
      must((row?.last ?? 0) <= bound + 1, `a task that came ${row?.last} s later went first; ${bound} s is the most`);
      rig.note(
        `${row?.overtaken} went first, the last of them came ${row?.last?.toFixed(1)} s later (at most ${bound} s)`,
      );
      await load;
    },
  }),
  defineCase({
    id: 'F53',
    title: `${MANY.toLocaleString('en')} tasks wait`,
    topology: { workers: 0 },
    withinSeconds: 1_200,
    alone: true,
    async run(rig) {
      rig.mayLeaveTasks = true;
      const empty = await submitTimes(rig);
      await fill(rig);
      await until('the first jobs of what waits', async () => (await countJobs(rig)) > 0, 60_000, 1_000);
      await rig.redis?.command('CONFIG', 'SET', 'slowlog-log-slower-than', 100_000);
      await rig.redis?.command('SLOWLOG', 'RESET');
      const full = await submitTimes(rig);
      must(full <= Math.max(1.5 * empty, 50), `a submission took ${full} ms (p99), ${empty} ms before`);
      const looks: number[] = [];
      for (let look = 0; look < 20; look++) looks.push((await rig.client.request('GET', '/readyz')).ms);
      const slow = Number(await rig.redis?.command('SLOWLOG', 'LEN'));
      must(!(slow > 0), `${slow} commands took more than 100 ms in Redis`);
      const jobs = await countJobs(rig);
      must(jobs <= 20_000, `${jobs} jobs are there`);
      rig.note(`${jobs} jobs; submit p99 ${empty} → ${full} ms; /readyz p99 ${Math.round(quantile(looks, 0.99))} ms`);
    },
  }),
];

/** The p99 of how long tasks waited for their first start, in milliseconds. */
async function waitsSince(rig: Rig, since: Date): Promise<number> {
  const rows = await rig.postgres.query<{ ms: number }>(
    `select extract(epoch from started_at - created_at)::float * 1000 as ms from tasks
     where created_at >= $1 and priority = 5 and attempt = 1`,
    [since],
  );
  return Math.round(
    quantile(
      rows.map(({ ms }) => ms),
      0.99,
    ),
  );
}

async function killWorkerOf(rig: Rig, id: string): Promise<void> {
  const [row] = await rig.postgres.query<{ worker: string }>('select worker from tasks where id = $1', [id]);
  const victim = rig.workers.find(({ pid }) => row?.worker.endsWith(`:${pid}`));
  must(victim, `nobody runs the task ${id}`);
  await rig.kill(victim);
  await victim.start();
}

async function statusOf(rig: Rig, id: string) {
  const [row] = await rig.postgres.query<{ status: string; attempt: number; code: string | null }>(
    `select status, attempt, error ->> 'code' as code from tasks where id = $1`,
    [id],
  );
  return row;
}

const echoOnAgentLane = (rig: Rig) => rig.agentTask(0, { priority: 10 });

/** The p99 of 1,000 submissions, in milliseconds. */
async function submitTimes(rig: Rig): Promise<number> {
  rig.client.book.waits.length = 0;
  await rig.client.load(
    Array.from({ length: 1_000 }, () => echo()),
    { atOnce: 8, insist: true },
  );
  return Math.round(quantile(rig.client.book.waits, 0.99));
}

/** Rows in the backlog, from which the admitter takes them. */
async function fill(rig: Rig): Promise<void> {
  for (let part = 0; part < MANY / 50_000; part++)
    await rig.postgres.query(
      `insert into tasks (id, user_id, type, lane, status, priority, input, max_attempts, timeout_ms, ready_at, held_by)
       select gen_random_uuid(), (select id from users limit 1), 'echo', 'system', 'pending', 1 + (n % 10), '{"message":"x"}',
         3, 30000, now() - interval '1 hour' + n * interval '1 ms', 'lane' from generate_series(1, 50000) n`,
    );
}

const countJobs = (rig: Rig) =>
  withLanes(rig, async ({ backend }) => (await backend.queue('system').getJobCounts('prioritized')).prioritized ?? 0);
