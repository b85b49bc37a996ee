import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineBench, machine, quantile, table } from '../bench.ts';
import { part, whole } from '../options.ts';
import { startChild } from '../rig/child.ts';
import { requestOf, sendLoad } from '../rig/load.ts';
import { openPostgres, openRedis } from '../rig/stores.ts';
import { cpuOf, total, used } from '../rig/usage.ts';

/** What a part does in a second, and what one of it costs, in milliseconds of processor time over all processes. */
interface Speed {
  perSecond: number;
  cpuMs: number;
}

/** The parts: where each is, and what it is called there. */
const PARTS: Array<[name: string, where: 'http' | 'postgres' | 'redis', what: string]> = [
  ['Hono answers', 'http', '/open'],
  ['Hono verifies a token (HS256) and answers', 'http', '/verified'],
  ['the same, of a token that was verified before', 'http', '/remembered'],
  ['rows of 300 B, one INSERT each', 'postgres', 'insert'],
  ['100 of them in one INSERT', 'postgres', 'insert-many'],
  ['BullMQ on Redis, `add`', 'redis', 'add'],
  ['`addBulk` of 100', 'redis', 'add-bulk'],
  ['a worker that does nothing', 'redis', 'work'],
  ['BullMQ on Postgres, `add`', 'postgres', 'add'],
  ['`addBulk` of 100', 'postgres', 'add-bulk'],
  ['a worker that does nothing', 'postgres', 'work'],
];

const USAGE = {
  about: 'What the parts that the product is made of can do alone, each at its best: no build of them is quicker',
  options: {
    times: whole(3, 'rounds; the medians count'),
    seconds: whole(2, 'how long a part is measured'),
    only: part(
      PARTS.map(([name]) => name),
      'parts',
    ),
  },
};

export const bench = defineBench(USAGE, async ({ times, seconds, only }) => {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const [postgres, redis] = await Promise.all([openPostgres(folder), openRedis(folder)]);
  const onRedis = { REDIS_URL: redis.url };
  const stores = { postgres: [postgres.pid], redis: [redis.pid] };

  async function http(path: string): Promise<Speed> {
    const child = startChild(folder, 'http', 'tests/load/limits/http-main.ts');
    const { url, token } = await child.message<{ url: string; token: string }>('url');
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const request = requestOf('POST', path, headers, JSON.stringify({ text: 'x'.repeat(280) }));
    const run = async (ms: number) => {
      const until = performance.now() + ms;
      const next = () => (performance.now() < until ? request : undefined);
      return sendLoad({ url, connections: 64, next, good: 202 });
    };
    await run(500);
    const before = cpuOf({ http: [child.pid] });
    const load = await run(seconds * 1000);
    const ms = total(used(before, cpuOf({ http: [child.pid] })));
    await child.stop();
    return { perSecond: load.times.length / load.seconds, cpuMs: ms / load.times.length };
  }

  /** A process that does one thing as often as it can, and says how often that was. */
  async function work(verb: string, more: Record<string, string>): Promise<Speed> {
    const child = startChild(folder, verb, 'tests/load/limits/work-main.ts', {
      args: [verb, `${seconds}`],
      env: { DATABASE_URL: postgres.url, ...more },
    });
    await child.message<{ warm: true }>('warm');
    const before = cpuOf({ ...stores, own: [child.pid] });
    child.process.send('go');
    const { done, took } = await child.message<{ done: number; took: number }>('done');
    const ms = total(used(before, cpuOf({ ...stores, own: [child.pid] })));
    await child.stop();
    return { perSecond: done / took, cpuMs: ms / done };
  }

  console.log(`${machine()}, Postgres 18 from npm.\n`);
  try {
    const chosen = PARTS.filter(([name]) => name.includes(only));
    const speeds = chosen.map(() => [] as Speed[]);
    for (let time = 0; time < times; time++)
      for (const [index, [, where, what]] of chosen.entries())
        speeds[index]?.push(await (where === 'http' ? http(what) : work(what, where === 'redis' ? onRedis : {})));
    const rows = chosen.map(([name], index) => {
      const of = (pick: (speed: Speed) => number) => quantile((speeds[index] ?? []).map(pick), 0.5);
      return [
        name,
        Math.round(of(({ perSecond }) => perSecond)).toLocaleString('en'),
        of(({ cpuMs }) => cpuMs).toFixed(3),
      ];
    });
    console.log(table([['part', 'a second', 'CPU-ms each'], ...rows]));
    return true;
  } finally {
    await Promise.all([postgres.close(), redis.close()]);
    await rm(folder, { recursive: true, force: true });
  }
});
