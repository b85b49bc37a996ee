import { defineCase } from '../rig/case.ts';
import { allEnded, many } from '../rig/chats.ts';
import type { NewTask } from '../rig/client.ts';
import type { Rig } from '../rig/rig.ts';
import { must, until } from '../rig/wait.ts';

const POINTS = 25;
/** Points without ids: theirs come from the task and their place in it, whichever attempt stores them. */
const upsert = (n: number, more: Partial<NewTask> = {}): NewTask => ({
  type: 'vector.upsert',
  input: {
    collection: 'notes',
    points: Array.from({ length: POINTS }, (_, at) => ({ vector: [n + 1, at + 1, 1], payload: { n, at } })),
  },
  ...more,
});

/** How many points the store has, asked past the proxy's faults. */
async function stored(rig: Rig): Promise<number> {
  const answer = await fetch(`${rig.vectors?.url}/collections/sutazai_vectors_3/points/count`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ exact: true }),
  });
  must(answer.ok, `the store answered the count with ${answer.status}`);
  const { result } = (await answer.json()) as { result: { count: number } };
  return result.count;
}

async function mustHold(rig: Rig, tasks: number): Promise<void> {
  const rows = await rig.postgres.query<{ status: string; n: number }>(
    `select status, count(*)::int as n from tasks where type = 'vector.upsert' group by status`,
  );
  must(
    rows.length === 1 && rows[0]?.status === 'completed' && rows[0].n === tasks,
    `the upserts ended ${JSON.stringify(rows)}`,
  );
  const points = await stored(rig);
  must(points === tasks * POINTS, `${points} points are stored of ${tasks * POINTS}`);
  rig.note(`${points} points`);
}

/** The vector store. */
export const vectorCases = [
  defineCase({
    id: 'F49',
    title: 'a vector store that stores and is not heard of, and one that is cut off again and again',
    withinSeconds: 240,
    topology: { vectors: true },
    async run(rig) {
      const { vectors } = rig;
      must(vectors, 'there is no vector store');
      await rig.client.insist(upsert(0));
      await allEnded(rig, 30_000);
      // The answer never comes; what was asked is done.
      const swallowed = vectors.proxy.trap({ pattern: /PUT \/collections\/\S+\/points/, when: 'after' });
      await rig.client.insist(upsert(1));
      await swallowed;
      const points = await until(
        'the points of the answer that was lost',
        async () => (await stored(rig)) === 2 * POINTS,
      );
      must(points, 'the upsert was not done');
      let cuts = 0;
      const work = rig.client.load(
        many(120, (n) => upsert(n + 2, { max_attempts: 20 })),
        { insist: true, perSecond: 30 },
      );
      const cutter = setInterval(() => {
        cuts += vectors.proxy.connections() > 0 ? 1 : 0;
        vectors.proxy.reset();
      }, 150);
      await work.finally(() => clearInterval(cutter));
      rig.note(`cut off ${cuts} times`);
      await allEnded(rig, 150_000);
      const [row] = await rig.postgres.query<{ n: number }>(
        `select count(*)::int as n from attempts where outcome in ('retry', 'released')`,
      );
      must((row?.n ?? 0) > 1, 'nothing was tried again');
      rig.note(`${row?.n} attempts were repeated`);
      await mustHold(rig, 122);
    },
  }),
  defineCase({
    id: 'F49',
    title: 'workers killed while they store, and a vector store that is gone for a while',
    topology: { vectors: true },
    async run(rig) {
      const { vectors } = rig;
      must(vectors, 'there is no vector store');
      // Slow enough that the kill meets some in the middle.
      vectors.proxy.set({ kind: 'delay', ms: 300 });
      const work = rig.client.load(
        many(100, (n) => upsert(n, { max_attempts: 1 })),
        { insist: true },
      );
      const [victim] = rig.workers;
      must(victim, 'there is no worker');
      await until('a worker in the middle of its tasks', async () => (await running(rig, victim.pid)) > 5);
      await rig.kill(victim);
      await victim.start();
      await work;
      vectors.proxy.set({ kind: 'pass' });
      await allEnded(rig, 60_000);
      vectors.proxy.set({ kind: 'gone' });
      await rig.readiness.becomes('degraded');
      await rig.client.load(
        many(100, (n) => upsert(n + 100, { max_attempts: 1 })),
        { insist: true },
      );
      const [row] = await rig.postgres.query<{ n: number }>(
        `select count(*)::int as n from tasks where type = 'vector.upsert' and status = 'completed'`,
      );
      must(row?.n === 100, `${row?.n} tasks were completed without a store`);
      vectors.proxy.set({ kind: 'pass' });
      await allEnded(rig, 60_000);
      await mustHold(rig, 200);
    },
  }),
  defineCase({
    id: 'F49',
    title: 'vectors of another length than those of the collection',
    backends: ['postgres'],
    topology: { vectors: true },
    async run(rig) {
      await rig.client.insist(upsert(0));
      await allEnded(rig, 30_000);
      const wrong = { collection: 'notes', points: [{ vector: [1, 2, 3] }, { vector: [1, 2] }] };
      const search = { collection: 'notes', vector: [1, 2] };
      // The door refuses what it knows to be wrong; what it does not know yet fails once, for good.
      const ids: string[] = [];
      for (let n = 0; n < 20; n++) {
        const body = n % 2 === 0 ? { type: 'vector.upsert', input: wrong } : { type: 'vector.search', input: search };
        const answer = await rig.client.request<{ id: string }>('POST', '/api/v1/tasks', { body });
        must(answer.status === 202 || answer.status === 422, `a submission was answered ${answer.status}`);
        if (answer.status === 202) ids.push(answer.body.id);
      }
      const ends = () =>
        rig.postgres.query<{ end: string }>(
          `select distinct concat_ws(' ', status, attempt, error->>'code') as end from tasks
           where id = any($1) and completed_at is not null`,
          [ids],
        );
      const left = () => rig.postgres.query('select from tasks where id = any($1) and completed_at is null', [ids]);
      await until('all have ended', async () => (await left()).length === 0, 30_000);
      const found = (await ends()).map(({ end }) => end);
      must(
        found.every((end) => end === 'failed 1 dimension_mismatch'),
        `they ended so: ${found.join(', ')}`,
      );
      rig.note(`${20 - ids.length} of 20 were refused at the door`);
      must((await stored(rig)) === POINTS, 'a part of a refused upsert was stored');
    },
  }),
];

async function running(rig: Rig, pid: number): Promise<number> {
  const [row] = await rig.postgres.query<{ n: number }>(
    `select count(*)::int as n from tasks where status = 'running' and worker like '%:' || $1`,
    [pid],
  );
  return row?.n ?? 0;
}
