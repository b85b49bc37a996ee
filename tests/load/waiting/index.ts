import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineBench, machine, quantile, table } from '../bench.ts';
import { part, whole, wholes } from '../options.ts';
import { BACKENDS, type Backend, type Build } from '../rig/builds.ts';
import { type Model, startModel } from '../rig/model.ts';
import { accept, cpuPerTask, drain, type Phase, perSecond, sustain } from '../rig/phases.ts';
import { openProduct } from '../rig/product.ts';
import { statements } from '../rig/stores.ts';
import { rssMb } from '../rig/usage.ts';

const USAGE = {
  about: 'What it costs that very many tasks wait: to accept more, and to work',
  options: {
    waiting: wholes([0, 10_000, 100_000, 1_000_000], 'how many tasks wait, one product after the other'),
    times: whole(3, 'rounds; the medians count'),
    seconds: whole(5, 'how long each round accepts, and works'),
    only: part(BACKENDS, 'backends'),
  },
};

/** Accepting and working may be so many times slower than where nothing waits. */
const MOST = 1.5;

/** What the product did beside a number of waiting tasks. */
interface Measured {
  accepts: Phase[];
  drains: Phase[];
  redisMb: number | undefined;
}

export const bench = defineBench(USAGE, async ({ waiting, times, seconds, only }) => {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const model = await startModel(folder);
  const head = [
    ...['backend', 'waiting', 'accepts/s', 'p50 ms', 'p99 ms', 'CPU-ms an accept', 'worked off/s', 'CPU-ms each'],
    ...['Redis MB', 'p99 to none', 'rate to none'],
  ];
  const rows = [head];
  let good = true;
  try {
    console.log(`${machine()}, Postgres 18 from npm.\n`);
    for (const backend of BACKENDS) {
      if (!backend.includes(only)) continue;
      let none: { p99: number; rate: number } | undefined;
      for (const count of waiting) {
        const measured = await measure({ folder, model, backend, count, seconds, times });
        const [p99, rate] = [of(measured.accepts, ({ p99 = Number.NaN }) => p99), of(measured.drains, perSecond)];
        none ??= { p99, rate };
        const [slower, fewer] = [p99 / none.p99, none.rate / rate];
        good &&= slower <= MOST && fewer <= MOST;
        rows.push([
          ...[backend, count.toLocaleString('en'), of(measured.accepts, perSecond).toFixed(0)],
          ...[of(measured.accepts, ({ p50 = Number.NaN }) => p50).toFixed(1), p99.toFixed(1)],
          ...[of(measured.accepts, cpuPerTask).toFixed(3), rate.toFixed(0), of(measured.drains, cpuPerTask).toFixed(3)],
          ...[measured.redisMb?.toFixed(0) ?? '', slower.toFixed(2), fewer.toFixed(2)],
        ]);
        console.error(rows.at(-1)?.join('  '));
      }
    }
    console.log(table(rows));
    return good;
  } finally {
    await model.close();
    await rm(folder, { recursive: true, force: true });
  }
});

/** The median. */
const of = (phases: Phase[], pick: (phase: Phase) => number) => quantile(phases.map(pick), 0.5);

async function measure(options: {
  folder: string;
  model: Model;
  backend: Backend;
  count: number;
  seconds: number;
  times: number;
}): Promise<Measured> {
  const { model, count, seconds, times } = options;
  const build = await openProduct(options);
  try {
    await sustain(build, model, { seconds: 3, tasks: Number.POSITIVE_INFINITY });
    await model.shut(true);
    await fill(build, count);
    const measured: Measured = { accepts: [], drains: [], redisMb: undefined };
    for (let time = 0; time < times; time++) {
      const accepted = await accept(build, model, { seconds, tasks: Number.POSITIVE_INFINITY });
      measured.accepts.push(accepted);
      // Where none are to wait, all is done before the next round.
      measured.drains.push(await drain(build, model, count === 0 ? { tasks: accepted.tasks } : { tasks: 0, seconds }));
    }
    if (build.redis) measured.redisMb = rssMb(build.redis.pid);
    return measured;
  } finally {
    await model.shut(false);
    await build.close();
  }
}

const AT_ONCE = 100_000;

/** Stores waiting tasks of all users and classes in the backlog of the lane, in which most of so many would be. */
async function fill({ database, userIds, body }: Build, count: number): Promise<void> {
  const { input } = JSON.parse(body(1));
  await statements(database, async (client) => {
    for (let from = 0; from < count; from += AT_ONCE)
      await client.query(
        `insert into tasks (id, user_id, type, lane, status, priority, input, max_attempts, timeout_ms, created_at, ready_at, held_by)
          select uuidv7(since - now()), ($1::uuid[])[1 + n % $2::int], 'generate', 'llm', 'pending', 1 + n / $2::int % 10, $3, 3, 30000,
            since, since, 'lane' from generate_series($4::int, $5::int) as n,
            lateral (select now() - ($6::int - n) * interval '1 ms' as since) as made`,
        [userIds, userIds.length, JSON.stringify(input), from, Math.min(count, from + AT_ONCE) - 1, count],
      );
    if (count > 0) await client.query('vacuum analyze tasks');
  });
}
