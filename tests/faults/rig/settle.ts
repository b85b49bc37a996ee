import { createLog } from '../../../src/log.ts';
import { createDispatcher } from '../../../src/queues/dispatcher.ts';
import { collectGarbage } from './inspect.ts';
import { withLanes } from './lanes.ts';
import type { Rig } from './rig.ts';
import { until } from './wait.ts';

/** What the product takes of the machine: by process, and in its stores. */
export interface Footprint {
  members: Map<number, { name: string; descriptors: number; rss: number }>;
  connections: number;
  redisBytes: number;
}

/** Measures what the product takes now that a fault is over: a process that grew throws away first what it does not need any more. */
export async function footprintAfter(rig: Rig, before: Footprint): Promise<Footprint> {
  await rig.client.rest();
  const grown = rig.members.filter((member) => {
    const then = before.members.get(member.pid);
    return then !== undefined && member.alive() && hasGrown(member.usage().rss, then.rss);
  });
  for (const member of grown) await collectGarbage(member);
  return footprint(rig);
}

/** Measures what the product takes now. */
export async function footprint(rig: Rig): Promise<Footprint> {
  await rig.client.rest();
  const [row] = await rig.postgres.query<{ n: number }>(
    `select count(*)::int as n from pg_stat_activity where application_name like 'sutazai%' or application_name = ''`,
  );
  const info = rig.redis ? String(await rig.redis.command('INFO', 'memory')) : '';
  return {
    members: new Map(
      rig.members
        .filter((member) => member.alive())
        .map((member) => [member.pid, { name: member.name, ...member.usage() }]),
    ),
    connections: row?.n ?? 0,
    redisBytes: Number(/used_memory:(\d+)/.exec(info)?.[1] ?? 0),
  };
}

const MORE = 1.1;
const FEW_DESCRIPTORS = 20;
/** Pools open connections as they need them; what is looked for is that they keep to their bounds. */
const FEW_CONNECTIONS = 24;
/** Heaps are given back late; what is looked for is a leak. */
const SOME_MEMORY = 192 * 1024 * 1024;
const SOME_REDIS = 16 * 1024 * 1024;

const hasGrown = (rss: number, before: number) => rss > before * MORE + SOME_MEMORY;

/** I6: what is taken afterwards beyond what was taken before, as sentences; `jobsLeft` says that Redis still has work to hold. */
export function growth(before: Footprint, after: Footprint, jobsLeft = false): string[] {
  const found: string[] = [];
  for (const [pid, { name, descriptors, rss }] of after.members) {
    const then = before.members.get(pid);
    if (!then) continue;
    if (descriptors > then.descriptors * MORE + FEW_DESCRIPTORS)
      found.push(`I6: ${name} has ${descriptors} open descriptors, ${then.descriptors} before`);
    if (hasGrown(rss, then.rss)) found.push(`I6: ${name} takes ${mega(rss)} of memory, ${mega(then.rss)} before`);
  }
  if (after.connections > before.connections * MORE + FEW_CONNECTIONS)
    found.push(`I6: there are ${after.connections} connections to Postgres, ${before.connections} before`);
  if (!jobsLeft && after.redisBytes > before.redisBytes * MORE + SOME_REDIS)
    found.push(`I6: Redis takes ${mega(after.redisBytes)}, ${mega(before.redisBytes)} before`);
  return found;
}

const mega = (bytes: number) => `${Math.round(bytes / 1024 / 1024)} MB`;

/** Waits until nothing waits or runs any more, and answers how long that took in milliseconds. */
export async function settle(rig: Rig, withinMs: number): Promise<number> {
  const { tookMs } = await until(
    'the end of every task',
    async () => {
      const [row] = await rig.postgres.query<{ open: boolean }>(
        `select exists (select from tasks where status in ('scheduled', 'pending', 'running', 'cancelling')) as open`,
      );
      return row?.open === false;
    },
    withinMs,
    200,
  );
  if (!rig.mayMissWebhooks)
    await until(
      'the arrival of every webhook',
      async () => {
        const [row] = await rig.postgres.query<{ open: boolean }>(
          `select exists (select from deliveries where status in ('pending', 'running')) as open`,
        );
        return row?.open === false;
      },
      withinMs,
      200,
    );
  return tookMs;
}

/** I5: rows and jobs agree once nothing waits: no job is left in any lane, and no job outside of one. */
export async function emptyLanes(rig: Rig, withinMs = 60_000): Promise<string[]> {
  return withLanes(rig, async ({ backend }) => {
    const dispatcher = createDispatcher(backend, { completed: 0, failed: 0, agingMs: 0 }, createLog('silent'));
    let last = '';
    await until(
      'lanes without jobs',
      async () => {
        const counts = Object.entries(await dispatcher.counts());
        const left = counts.filter(([, { waiting, active, delayed }]) => waiting + active + delayed > 0);
        last = left.map(([lane, { waiting, active, delayed }]) => `${lane} ${waiting}/${active}/${delayed}`).join(', ');
        return left.length === 0;
      },
      withinMs,
      300,
    ).catch(() => {});
    if (last) return [`I5: jobs without rows are left (waiting/active/delayed): ${last}`];
    if (!rig.redis) return [];
    const kept = Object.values(await dispatcher.counts()).reduce((sum, lane) => sum + lane.completed + lane.failed, 0);
    const keys = (await rig.redis.command('KEYS', 'sutazai:*_g*')) as string[];
    return keys.length > kept ? [`I5: Redis has ${keys.length} keys of jobs and ${kept} jobs, such as ${keys[0]}`] : [];
  });
}
