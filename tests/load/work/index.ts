import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Bench, machine } from '../bench.ts';
import { type Build, openNaive } from '../rig/builds.ts';
import { startModel } from '../rig/model.ts';
import { accept, drain, light, type Phase, sustain } from '../rig/phases.ts';
import { openProduct } from '../rig/product.ts';
import { rssMb } from '../rig/usage.ts';
import { ratio, report } from './report.ts';

/** Memory at rest is that of processes to which nothing has happened for so long; there is no signal for nothing. */
const REST_MS = 3_000;

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
  restMb: { api: number; worker: number };
  rounds: Round[];
}

const OPTIONS = {
  /** Rounds; the medians count. */
  times: { type: 'string', default: '3' },
  /** How long a phase goes on, or how many tasks it has: the latter for a machine that does other things besides. */
  seconds: { type: 'string', default: '5' },
  tasks: { type: 'string', default: '1000000' },
  only: { type: 'string', default: '' },
  /** Which of them; all when empty. */
  phases: { type: 'string', default: '' },
  apis: { type: 'string', default: '1' },
  /** It fails where a task of the product on Redis costs more than so many times what it costs in the naive build. */
  most: { type: 'string', default: '' },
  /** A folder for the CPU profiles of the processes. */
  profile: { type: 'string', default: '' },
} as const;

/** What a task costs from its submission to its output, in the product and in a naive build, on both backends. */
export const bench: Bench = async (args) => {
  const { values } = parseArgs({ args, options: OPTIONS });
  const [seconds, tasks] = [Number(values.seconds), Number(values.tasks)];
  const length = { seconds, tasks };
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const model = await startModel(folder);
  const node = values.profile ? ['--cpu-prof', `--cpu-prof-dir=${values.profile}`] : [];
  const wants = (phase: string) => phase.startsWith(values.phases);
  const shared = { folder, model, node };
  const makers = [
    ['product on redis', () => openProduct({ ...shared, backend: 'redis', apis: Number(values.apis) })],
    ['naive on redis', () => openNaive({ ...shared, backend: 'redis' })],
    ['product on postgres', () => openProduct({ ...shared, backend: 'postgres', apis: Number(values.apis) })],
    ['naive on postgres', () => openNaive({ ...shared, backend: 'postgres' })],
  ] as const;
  const builds: Build[] = [];
  console.log(`${machine()}, Postgres 18 from npm.\n`);
  try {
    const results: Result[] = [];
    for (const [name, open] of makers) {
      if (!name.includes(values.only)) continue;
      const build = await open();
      builds.push(build);
      await new Promise((resolve) => setTimeout(resolve, REST_MS));
      results.push({ name, restMb: restOf(build), rounds: [] });
    }
    // So that the first round finds everything compiled and every connection open.
    for (const build of builds) await sustain(build, model, { seconds: 3, tasks });
    for (let time = 0; time < Number(values.times); time++)
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
    return !values.most || ratio(results, 'redis') <= Number(values.most);
  } finally {
    await Promise.all(builds.map((build) => build.close()));
    await model.close();
    await rm(folder, { recursive: true, force: true });
  }
};

const isProduct = (build: Build) => build.name.startsWith('product');

function restOf({ processes }: Build) {
  const sum = (pids: number[]) => pids.reduce((total, pid) => total + rssMb(pid), 0);
  return { api: sum(processes.api) / processes.api.length, worker: sum(processes.worker) };
}
