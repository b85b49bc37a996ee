import { defineCase } from '../rig/case.ts';
import { lasting, must, until } from '../rig/wait.ts';

const RESCUE_WITHIN_MS = 45_000;

/** Workers that are killed. */
export const workerLossCases = [
  defineCase({
    id: 'F17',
    title: 'a worker is killed in the middle of its tasks',
    quick: true,
    async run(rig) {
      const work = rig.client.load(
        Array.from({ length: 200 }, () => rig.agentTask(1_500)),
        { atOnce: 32, insist: true },
      );
      await until('a busy agent', () => rig.agent.busy() > 20);
      await lasting(500 + 500 * Math.random());
      const [victim] = rig.workers;
      must(victim, 'there is no worker');
      await rig.kill(victim);
      await victim.start();
      await work;
      await until(
        'the rescue',
        async () => {
          const [row] = await rig.postgres.query<{ n: number }>(
            `select count(*)::int as n from tasks where status = 'running' and worker like '%:' || $1`,
            [rig.kills[0]?.pid],
          );
          return row?.n === 0;
        },
        RESCUE_WITHIN_MS,
      );
      const [row] = await rig.postgres.query<{ lost: number; failures: number }>(
        `select count(*) filter (where outcome = 'lost')::int as lost,
           (select coalesce(sum(failures), 0)::int from tasks) as failures from attempts`,
      );
      must((row?.lost ?? 0) > 0, 'the killed worker had nothing to lose');
      must(row?.failures === 0, 'a kill used up attempts');
    },
  }),
];
