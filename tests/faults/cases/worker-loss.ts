import { defineCase } from '../rig/case.ts';
import type { Rig } from '../rig/rig.ts';
import { lasting, must, quantile, until } from '../rig/wait.ts';

const RESCUE_WITHIN_MS = 45_000;
const KILLS = 100;

/** Workers that are killed. */
export const workerLossCases = [
  defineCase({
    id: 'F17',
    title: 'a worker is killed in the middle of its tasks',
    quick: true,
    async run(rig) {
      const work = rig.client.load(
        Array.from({ length: 120 }, () => rig.agentTask(1_500)),
        { atOnce: 32, insist: true },
      );
      await until('a busy agent', () => rig.agent.busy() > 20);
      await lasting(500 + 500 * Math.random());
      const [victim] = rig.workers;
      must(victim, 'there is no worker');
      await rig.kill(victim);
      await victim.start();
      await work;
      await until('the rescue', async () => (await heldByTheDead(rig)) === 0, RESCUE_WITHIN_MS);
      const { lost, failures } = await countLosses(rig);
      must(lost > 0, 'the killed worker had nothing to lose');
      must(failures === 0, 'a kill used up attempts');
    },
  }),
  defineCase({
    id: 'F17',
    title: `workers are killed ${KILLS} times, at any moment`,
    topology: { workers: 3 },
    withinSeconds: 3_600,
    async run(rig) {
      let over = false;
      const work = rig.client.load(
        Array.from({ length: 100_000 }, (_, n) => rig.agentTask(n % 50 === 0 ? 4_000 : 100)),
        { perSecond: 60, atOnce: 32, insist: true, until: () => over },
      );
      // Killed in turn: while one is started again the others are at work, and the next of them is killed.
      const starting: Array<Promise<void> | undefined> = [];
      for (let kill = 0; kill < KILLS; kill++) {
        await lasting(500 + 2_000 * Math.random());
        const turn = kill % rig.workers.length;
        const victim = rig.workers[turn];
        must(victim, 'there is no worker');
        await starting[turn];
        await rig.kill(victim);
        starting[turn] = victim.start();
      }
      await Promise.all(starting);
      over = true;
      await work;
      await until('the rescue', async () => (await heldByTheDead(rig)) === 0, RESCUE_WITHIN_MS);
      const { lost, failures } = await countLosses(rig);
      must(lost >= KILLS, `${KILLS} kills cost ${lost} attempts only`);
      must(failures === 0, 'a kill used up attempts');
      const starts = await rig.postgres.query<{ ms: number }>(
        `select extract(epoch from started_at - created_at) * 1000 as ms from tasks where attempt = 1 and type = 'http.request'`,
      );
      rig.note(
        `${KILLS} kills; ${lost} attempts lost; tasks that no kill hit started after ${Math.round(
          quantile(
            starts.map(({ ms }) => Number(ms)),
            0.99,
          ),
        )} ms (p99)`,
      );
    },
  }),
];

/** How many tasks are in the name of a worker that was killed. */
async function heldByTheDead(rig: Rig): Promise<number> {
  const [row] = await rig.postgres.query<{ n: number }>(
    `select count(*)::int as n from tasks where status = 'running' and split_part(worker, ':', 2)::int = any($1::int[])`,
    [rig.kills.map(({ pid }) => pid)],
  );
  return row?.n ?? 0;
}

async function countLosses(rig: Rig): Promise<{ lost: number; failures: number }> {
  const [row] = await rig.postgres.query<{ lost: number; failures: number }>(
    `select (select count(*)::int from attempts where outcome = 'lost') as lost,
       (select coalesce(sum(failures), 0)::int from tasks where error ->> 'code' is distinct from 'poison') as failures`,
  );
  return row ?? { lost: 0, failures: 0 };
}
