import { defineCase } from '../rig/case.ts';
import type { NewTask } from '../rig/client.ts';
import type { Trap } from '../rig/proxy.ts';
import type { Rig } from '../rig/rig.ts';
import { lasting, must, until } from '../rig/wait.ts';

const WAVES = 5;
const A_WAVE = 40;

/** The statement that stores tasks, and the call that adds jobs, as they look on the wire. */
const STORING = /insert into tasks/;
const ADDING = /kind\\?":\\?"task/;

/** APIs that die while they accept, and clients that send the same request again, or to several APIs at once. */
export const acceptingCases = [
  defineCase({
    id: 'F1',
    title: 'an API is killed between the commit of tasks and their jobs; clients send again with their keys',
    quick: true,
    topology: { workers: 0 },
    run: (rig) => dieAccepting(rig, (spring) => lanes(rig).trap({ pattern: ADDING, when: 'before', spring })),
  }),
  defineCase({
    id: 'F2',
    title: 'an API is killed when its jobs are added and it has not heard of it',
    topology: { workers: 0 },
    run: (rig) => dieAccepting(rig, (spring) => lanes(rig).trap({ pattern: ADDING, when: 'after', spring })),
  }),
  defineCase({
    id: 'F3',
    title:
      'an API is killed after the commit, before it hears of it; with a key there is one task, without one there are two',
    topology: { workers: 0 },
    async run(rig) {
      const storing = (spring: Trap['spring']) => rig.postgres.proxy.trap({ pattern: STORING, when: 'after', spring });
      const [api] = rig.apis;
      must(api, 'there is no API');
      const sprung = storing(() => rig.kill(api));
      const twice = rig.client.insist({ type: 'echo', input: { message: 'without' }, tags: ['without'] });
      await sprung;
      await api.start();
      await twice;
      must((await stored(rig, 'without')).length === 2, 'a lost answer without a key did not lead to a second task');
      await dieAccepting(rig, storing);
    },
  }),
  defineCase({
    id: 'F4',
    title: 'two APIs get the same request 50 times at once, and different ones under the same key',
    quick: true,
    topology: { apis: 2 },
    async run(rig) {
      const keys = Array.from({ length: 20 }, (_, n) => n);
      await Promise.all(keys.map((n) => storm(rig, n, { different: n % 5 === 0 })));
      const rows = await stored(rig);
      must(rows.length === keys.length, `${rows.length} tasks were stored for ${keys.length} keys`);
      rig.note(`${keys.length} keys, 50 requests each: ${rows.length} tasks`);
    },
  }),
];

/** Where jobs are added. */
function lanes(rig: Rig) {
  return rig.backend === 'redis' ? rig.redis.proxy : rig.postgres.proxy;
}

/**
 * Sends waves of submissions, kills the API at the same place in each, starts it again, and lets the clients go on until
 * each has its answer.
 */
async function dieAccepting(rig: Rig, trap: (spring: () => Promise<void>) => Promise<void>): Promise<void> {
  const [api] = rig.apis;
  must(api, 'there is no API');
  const answered = new Set<string>();
  let lost = 0;
  let replays = 0;
  for (let wave = 0; wave < WAVES; wave++) {
    const tag = `wave-${wave}`;
    const sprung = trap(() => rig.kill(api));
    const sending = Promise.all(
      Array.from({ length: A_WAVE }, async (_, n) => {
        const { id, again } = await untilAnswered(rig, rig.agentTask(0, { tags: [tag] }), `${tag}.${n}`);
        answered.add(id);
        if (again) replays++;
      }),
    );
    await sprung;
    // Postgres ends a statement that it has, whoever is still there to hear of it.
    lost += await unanswered(rig, tag, answered);
    await api.start();
    await sending;
    const rows = await stored(rig, tag);
    must(rows.length === A_WAVE, `${rows.length} tasks were stored for ${A_WAVE} requests`);
  }
  must(answered.size === WAVES * A_WAVE, `${answered.size} ids were answered to ${WAVES * A_WAVE} requests`);
  must(lost > 0, 'no answer was lost');
  must(replays >= lost, `${lost} answers were lost, and ${replays} given again`);
  await rig.join('worker');
  await rig.join('worker');
  await until('the end of every task', async () => (await open(rig)) === 0, 60_000);
  const [row] = await rig.postgres.query<{ n: number }>(`select count(*)::int as n from attempts where attempt > 1`);
  must(row?.n === 0, `${row?.n} attempts were not the first of their task`);
  rig.note(`${WAVES} kills; ${lost} accepted tasks whose answer was lost, all given again under their keys`);
}

/** How many tasks are stored of which no client has heard; the sweep of the API itself may have sprung the trap instead. */
async function unanswered(rig: Rig, tag: string, answered: Set<string>): Promise<number> {
  let silent = 0;
  await until(
    'a task of which no client has heard',
    async () => {
      silent = (await stored(rig, tag)).filter((id) => !answered.has(id)).length;
      return silent > 0;
    },
    3_000,
  ).catch(() => {});
  return silent;
}

/** Sends a submission until it is answered, as a client with a key does. */
async function untilAnswered(rig: Rig, task: NewTask, key: string): Promise<{ id: string; again: boolean }> {
  for (;;) {
    const { status, body, headers } = await rig.client.submit(task, { key });
    if (status === 202) return { id: body.id, again: headers['idempotency-replayed'] === 'true' };
    must(status === 0 || status === 503, `a submission was answered ${status}: ${JSON.stringify(body)}`);
    await lasting(100);
  }
}

/** One key 50 times at once, on both APIs in turn; with two bodies where they are to be different. */
async function storm(rig: Rig, key: number, { different }: { different: boolean }): Promise<void> {
  const replies = await Promise.all(
    Array.from({ length: 50 }, (_, n) => {
      const message = different && n % 3 === 0 ? 'other' : 'same';
      return rig.client.submit(
        { type: 'echo', input: { message }, tags: ['storm'] },
        { key: `storm-${key}`, api: n % 2 },
      );
    }),
  );
  const accepted = replies.filter(({ status }) => status === 202);
  const refused = replies.filter(({ status }) => status === 422);
  must(accepted.length + refused.length === 50, `there were answers beside 202 and 422 for key ${key}`);
  must(new Set(accepted.map(({ body }) => body.id)).size === 1, `key ${key} was answered with several ids`);
  must(
    accepted.filter(({ headers }) => headers['idempotency-replayed'] === undefined).length === 1,
    `key ${key} was stored by more than one request, or by none`,
  );
  // Of 50 requests every third is another one: whichever comes first, the others are refused.
  const wanted = different ? [17, 33] : [0];
  must(wanted.includes(refused.length), `${refused.length} requests with key ${key} were refused`);
}

/** The ids of the tasks of the case, or of those with this tag. */
async function stored(rig: Rig, tag?: string): Promise<string[]> {
  const rows = await rig.postgres.query<{ id: string }>(
    `select id from tasks where tags <> '{}' and ($1::text is null or $1 = any(tags))`,
    [tag ?? null],
  );
  return rows.map(({ id }) => id);
}

async function open(rig: Rig): Promise<number> {
  const [row] = await rig.postgres.query<{ n: number }>(
    `select count(*)::int as n from tasks where completed_at is null`,
  );
  return row?.n ?? 0;
}
