import { defineCase } from '../rig/case.ts';
import type { Rig } from '../rig/rig.ts';
import { lasting, must, until } from '../rig/wait.ts';

const FULL_MS = 30_000;

/** Redis that takes no writes because something is full. */
export const redisFullCases = [
  defineCase({
    id: 'F12',
    title: 'Redis has no memory left for 30 s',
    backends: ['redis'],
    run: (rig) =>
      whileFull(
        rig,
        async () => void (await rig.redis.command('CONFIG', 'SET', 'maxmemory', '1mb')),
        async () => void (await rig.redis.command('CONFIG', 'SET', 'maxmemory', '0')),
      ),
  }),
  defineCase({
    id: 'F51',
    title: 'the disk of Redis is full for 30 s',
    backends: ['redis'],
    topology: { smallDisk: { of: 'redis', megabytes: 48 } },
    run: (rig) =>
      whileFull(
        rig,
        async () => {
          rig.disk?.fill();
          // Redis sees it when it writes its file; then it takes no writes (MISCONF).
          await until('Redis refuses writes', async () => {
            const answer = await rig.redis
              .command('SET', 'rig', 'x'.repeat(10_000))
              .catch((error: Error) => error.message);
            return String(answer).startsWith('MISCONF');
          });
        },
        async () => rig.disk?.free(),
      ),
  }),
];

async function whileFull(rig: Rig, fill: () => Promise<void>, free: () => Promise<void>): Promise<void> {
  let over = false;
  const load = rig.client.load(
    Array.from({ length: 50_000 }, () => rig.agentTask(50)),
    { perSecond: 100, atOnce: 32, until: () => over },
  );
  await lasting(2_000);
  await fill();
  const busy = await rig.client.load(
    Array.from({ length: 20 }, () => rig.agentTask(1_000)),
    { insist: true },
  );
  await lasting(FULL_MS);
  await free();
  const freed = Date.now();
  await until(
    'what was accepted meanwhile is done',
    async () => {
      const rows = await rig.postgres.query(
        `select 1 from tasks where id = any($1::uuid[]) and completed_at is not null`,
        [busy],
      );
      return rows.length === busy.length;
    },
    60_000,
  );
  const took = Date.now() - freed;
  over = true;
  await load;
  const others = [...rig.client.book.answers.keys()].filter((status) => status !== 202 && status !== 503);
  must(others.length === 0, `submissions were answered ${others.join(', ')} beside 202 and 503`);
  const slowest = Math.max(...rig.client.book.waits);
  must(slowest < 5_000, `a submission took ${Math.round(slowest)} ms`);
  rig.note(
    `working again ${(took / 1000).toFixed(1)} s after there was room; slowest answer ${(slowest / 1000).toFixed(1)} s`,
  );
}
