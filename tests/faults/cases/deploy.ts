import { defineCase } from '../rig/case.ts';
import { lasting, must, until } from '../rig/wait.ts';

const UPSERT = { type: 'vector.upsert', input: { collection: 'notes', points: [{ id: 1, vector: [1, 2, 3] }] } };

/** Versions of the product that work beside each other. */
export const deployCases = [
  defineCase({
    id: 'F34',
    title: 'the schema is expanded under processes that do not know it yet',
    async run(rig) {
      let over = false;
      const load = rig.client.load(
        Array.from({ length: 4_000 }, () => rig.agentTask(20)),
        { atOnce: 16, until: () => over },
      );
      await lasting(1_000);
      await rig.postgres.query(`alter table tasks add column newer text default 'of a newer version'`);
      await rig.postgres.query(`alter table attempts add column newer integer`);
      await rig.postgres.query(`alter table deliveries add column newer jsonb`);
      await lasting(3_000);
      over = true;
      await load;
      must(
        [...rig.client.book.answers.keys()].every((status) => status === 202),
        'a submission was refused',
      );
      const { status, body } = await rig.client.request<{ data: object[] }>('GET', '/api/v1/tasks?limit=1');
      must(status === 200 && !('newer' in (body.data[0] ?? {})), 'a column of a newer version shows');
    },
  }),
  defineCase({
    id: 'F35',
    title: 'tasks of a type that only newer workers know wait for them',
    topology: {
      workers: 1,
      vectors: true,
      workerEnv: { ENABLE_VECTOR_SEARCH: 'false', WORKER_LANES: 'vector,system' },
    },
    async run(rig) {
      const ids = await rig.client.load(
        Array.from({ length: 20 }, () => UPSERT),
        { insist: true },
      );
      await until('the older worker has looked at them all', async () => {
        const [row] = await rig.postgres.query<{ n: number }>(
          `select count(distinct task_id)::int as n from attempts where outcome = 'released' and task_id = any($1::uuid[])`,
          [ids],
        );
        return row?.n === 20;
      });
      const open = await rig.postgres.query(`select 1 from tasks where id = any($1::uuid[]) and status = 'pending'`, [
        ids,
      ]);
      must(open.length === 20, 'a task of an unknown type did not go back to wait');
      const [older] = rig.workers;
      await rig.join('worker');
      older?.signal('SIGTERM');
      await older?.ended();
      const { tookMs } = await until(
        'the newer worker does them',
        async () => {
          const done = await rig.postgres.query(
            `select 1 from tasks where id = any($1::uuid[]) and status = 'completed' and failures = 0`,
            [ids],
          );
          return done.length === 20;
        },
        60_000,
      );
      rig.note(`done ${(tookMs / 1000).toFixed(1)} s after a newer worker had taken the place of the older one`);
    },
  }),
];
