import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineBench, machine } from '../bench.ts';
import { number, part, text, whole } from '../options.ts';
import { type Build, type BuildOptions, openNaive } from '../rig/builds.ts';
import { startModel } from '../rig/model.ts';
import { accept, drain, light, type Phase, sustain } from '../rig/phases.ts';
import { openProduct } from '../rig/product.ts';
import { rssMb } from '../rig/usage.ts';
import { ratio, report } from './report.ts';

/** Memory at rest is that of processes to which nothing has happened for so long: V8 begins to give back after eight seconds of calm. */
const REST_MS = 30_000;

/** What one round came to for a build, by phase. */
export interface Round {
  accept?: Phase;
  drain?: Phase;
  sustain?: Phase;
  slow?: Phase;
  light?: number[];
}

/** A build, what it took at rest, and its rounds. */
export interface Result {
  name: string;
  restMb?: { api: number; worker: number };
  rounds: Round[];
}

type Open = (options: Omit<BuildOptions, 'backend'>) => Promise<Build>;

const BUILDS: Record<string, Open> = {
  'product on redis': (options) => openProduct({ ...options, backend: 'redis' }),
  'naive on redis': (options) => openNaive({ ...options, backend: 'redis' }),
  'product on postgres': (options) => openProduct({ ...options, backend: 'postgres' }),
  'naive on postgres': (options) => openNaive({ ...options, backend: 'postgres' }),
};
/** What is accepted is then worked off. */
const PHASES = ['rest', 'accept', 'sustain', 'slow', 'light'];

const USAGE = {
  about: 'What a task costs from its submission to its output, in the product and in a naive build, on both backends',
  options: {
    times: whole(3, 'rounds; the medians count'),
    seconds: whole(5, 'how long a phase goes on at most'),
    tasks: whole(1_000_000, 'how many tasks it has at most: for a machine that does other things besides'),
    only: part(Object.keys(BUILDS), 'builds'),
    phases: part(PHASES, 'phases'),
    apis: whole(1, 'processes of the API'),
    most: number(
      undefined,
      'fails where a task of the product on Redis costs more than so many times what it costs in the naive build',
    ),
    profile: text('a folder for the CPU profiles of the processes'),
  },
};

export const bench = defineBench(USAGE, async ({ times, seconds, tasks, only, phases, apis, most, profile }) => {
  const length = { seconds, tasks };
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const model = await startModel(folder);
  const node = profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : [];
  const wants = (phase: string) => phase.includes(phases);
  const builds: Build[] = [];
  console.log(`${machine()}, Postgres 18 from npm.\n`);
  try {
    const results: Result[] = [];
    for (const [name, open] of Object.entries(BUILDS)) {
      if (!name.includes(only)) continue;
      builds.push(await open({ folder, model, node, apis }));
      results.push({ name, rounds: [] });
    }
    if (wants('rest')) {
      await new Promise((resolve) => setTimeout(resolve, REST_MS));
      for (const [index, build] of builds.entries()) Object.assign(results[index] ?? {}, { restMb: restOf(build) });
    }
    // So that the first round finds everything compiled and every connection open.
    for (const build of builds) await sustain(build, model, { seconds: 3, tasks });
    for (let time = 0; time < times; time++)
      for (const [index, build] of builds.entries()) {
        await build.clear();
        const round = results[index]?.rounds[time] ?? {};
        results[index]?.rounds.push(round);
        if (wants('accept')) {
          round.accept = await accept(build, model, length);
          round.drain = await drain(build, model, { tasks: round.accept.tasks });
        }
        if (wants('sustain')) round.sustain = await sustain(build, model, length);
        if (wants('slow')) round.slow = await sustain(build, model, length, 20);
        if (wants('light') && isProduct(build))
          round.light = await light(build, model, { tasks: Math.min(tasks, 30 * seconds), rate: 30 });
        console.error(`round ${time + 1}: ${build.name}`);
      }
    console.log(report(results));
    return most === undefined || ratio(results, 'redis') <= most;
  } finally {
    await Promise.all(builds.map((build) => build.close()));
    await model.close();
    await rm(folder, { recursive: true, force: true });
  }
});

const isProduct = (build: Build) => build.name.startsWith('product');

function restOf({ processes }: Build) {
  const sum = (pids: number[]) => pids.reduce((total, pid) => total + rssMb(pid), 0);
  return { api: sum(processes.api) / processes.api.length, worker: sum(processes.worker) };
}
