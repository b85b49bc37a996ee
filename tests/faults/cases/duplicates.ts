import { defineCase } from '../rig/case.ts';
import { withLanes } from '../rig/lanes.ts';
import type { Rig } from '../rig/rig.ts';
import { lasting, must, until } from '../rig/wait.ts';

/** Jobs that are started twice. */
export const duplicateCases = [
  defineCase({
    id: 'F22',
    title: 'the locks of running jobs disappear',
    quick: true,
    async run(rig) {
      const ids = await rig.client.load(
        Array.from({ length: 20 }, () => rig.agentTask(20_000)),
        { insist: true },
      );
      await until('all are busy', () => rig.agent.busy() === 20);
      const taken = await takeLocks(rig);
      must(taken >= 20, `${taken} locks were there`);
      // Long enough for BullMQ to call them stalled and start them again.
      await lasting(15_000);
      await until('the end of every call', () => rig.agent.busy() === 0);
      const rows = await rig.postgres.query<{ attempt: number }>(
        'select attempt from tasks where id = any($1::uuid[])',
        [ids],
      );
      must(
        rows.every(({ attempt }) => attempt === 1),
        'a task was started again although its worker was well',
      );
      must(rig.agent.ledger.length === 20, `the agent was called ${rig.agent.ledger.length} times for 20 tasks`);
    },
  }),
  defineCase({
    id: 'F23',
    title: 'tasks have jobs under two generations',
    quick: true,
    topology: { workers: 0 },
    async run(rig) {
      const ids = await rig.client.load(
        Array.from({ length: 200 }, () => rig.agentTask(50)),
        { insist: true },
      );
      // Half of them have moved on to the second job, half have not.
      await rig.postgres.query('update tasks set generation = 1 where id = any($1::uuid[])', [ids.slice(0, 100)]);
      await withLanes(rig, async ({ db, backend }) => {
        const rows = await db.selectFrom('tasks').select(['id', 'type', 'lane']).where('id', 'in', ids).execute();
        for (const { id, type, lane } of rows)
          await backend.queue(lane).add(type, { kind: 'task', id, generation: 1 }, { jobId: `${id}_g1`, priority: 1 });
      });
      await Promise.all([rig.join('worker'), rig.join('worker')]);
      await until('the end of every task', async () => {
        const [row] = await rig.postgres.query<{ n: number }>(
          `select count(*)::int as n from tasks where id = any($1::uuid[]) and status = 'completed' and attempt = 1`,
          [ids],
        );
        return row?.n === ids.length;
      });
      must(rig.agent.ledger.length === 200, `the agent was called ${rig.agent.ledger.length} times for 200 tasks`);
    },
  }),
];

/** Takes the locks of all jobs away; answers how many there were. */
async function takeLocks(rig: Rig): Promise<number> {
  if (rig.redis) {
    const locks = (await rig.redis.command('KEYS', 'sutazai:*:lock')) as string[];
    return Number(await rig.redis.command('DEL', ...locks));
  }
  const rows = await rig.postgres.query(
    `update bullmq.job set lock_token = null, locked_until_ms = 0 where state = 'active' returning id`,
  );
  return rows.length;
}
