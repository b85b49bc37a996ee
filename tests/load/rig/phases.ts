import { quantile } from '../bench.ts';
import type { Build } from './builds.ts';
import { type Load, requestOf, sendLoad } from './load.ts';
import type { Model } from './model.ts';
import { statements } from './stores.ts';
import { cpuOf, total, used } from './usage.ts';

export const CONNECTIONS = 64;
/** What may be sent and not answered by the model while both go on at once. */
const MAX_BACKLOG = 300;

/** What a phase came to. */
export interface Phase {
  tasks: number;
  seconds: number;
  /** Milliseconds of processor time a task, by kind of process. */
  cpu: Record<string, number>;
  /** Of the submissions, in milliseconds; not there where nothing was submitted. */
  p50?: number;
  p99?: number;
}

export const perSecond = ({ tasks, seconds }: Pick<Phase, 'tasks' | 'seconds'>) => tasks / seconds;
export const cpuPerTask = ({ cpu }: Pick<Phase, 'cpu'>) => total(cpu);

/** Requests of all users, over all priorities, for as long as the clock says. */
function submissions(build: Build, prefer = ''): () => Buffer {
  const all = build.tokens.flatMap((token) =>
    Array.from({ length: 10 }, (_, n) => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
      return requestOf('POST', build.path, { ...headers, ...(prefer ? { prefer } : {}) }, build.body(n + 1));
    }),
  );
  let sent = 0;
  return () => all[sent++ % all.length] as Buffer;
}

async function send(build: Build, options: Omit<Parameters<typeof sendLoad>[0], 'url' | 'connections'>): Promise<Load> {
  const { urls } = build;
  const loads = await Promise.all(
    urls.map((url) => sendLoad({ url, connections: CONNECTIONS / urls.length, ...options })),
  );
  const wrong = loads.find((load) => load.wrong)?.wrong;
  if (wrong) throw new Error(`${build.name} answered: ${wrong}`);
  return {
    times: loads.flatMap(({ times }) => times),
    statuses: new Map(),
    wrong,
    seconds: Math.max(...loads.map(({ seconds }) => seconds)),
  };
}

/** How many of its tasks have an output in the database. */
async function ended(build: Build): Promise<number> {
  return statements(build.database, async (client) => {
    const { rows } = await client.query('select count(*)::int as n from tasks where completed_at is not null');
    return rows[0].n as number;
  });
}

/** Waits until so many more texts were answered, and so many of the tasks have their outputs. */
async function untilEnded(build: Build, model: Model, answered: number, outputs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const look = () => model.answered() >= answered && resolve();
    model.onAnswers(look);
    look();
  });
  while ((await ended(build)) < outputs) await new Promise((resolve) => setTimeout(resolve, 20));
}

const measured = (cpu: Record<string, number>, tasks: number) =>
  Object.fromEntries(Object.entries(cpu).map(([name, ms]) => [name, ms / tasks]));

/** How long a phase goes on, or how many tasks it has, whichever comes first. */
export interface Length {
  seconds: number;
  tasks: number;
}

/** Accepts as many tasks as it can, while the model answers nobody. */
export async function accept(build: Build, model: Model, length: Length): Promise<Phase> {
  await model.shut(true);
  const next = submissions(build);
  let sent = 0;
  const before = cpuOf(build.processes);
  const until = performance.now() + length.seconds * 1000;
  const load = await send(build, {
    next: () => (performance.now() < until && sent++ < length.tasks ? next() : undefined),
  });
  const tasks = load.times.length;
  const cpu = measured(used(before, cpuOf(build.processes)), tasks);
  return { tasks, seconds: load.seconds, cpu, p50: quantile(load.times, 0.5), p99: quantile(load.times, 0.99) };
}

/** Does what was accepted; `tasks` of it, or as many as it can in some seconds. */
export async function drain(build: Build, model: Model, { tasks, seconds }: { tasks: number; seconds?: number }) {
  const first = model.answered();
  const outputs = await ended(build);
  const before = cpuOf(build.processes);
  const began = performance.now();
  await model.shut(false);
  if (seconds === undefined) await untilEnded(build, model, first + tasks, outputs + tasks);
  else {
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    await model.shut(true);
  }
  const took = (performance.now() - began) / 1000;
  const done = seconds === undefined ? tasks : model.answered() - first;
  return { tasks: done, seconds: took, cpu: measured(used(before, cpuOf(build.processes)), done) };
}

/** Accepts and works at once, as much as goes without a growing backlog; until all have their outputs. */
export async function sustain(build: Build, model: Model, length: Length, delayMs = 0): Promise<Phase> {
  await model.shut(false);
  await model.setDelay(delayMs);
  const [first, outputs] = [model.answered(), await ended(build)];
  const next = submissions(build);
  let sent = 0;
  const before = cpuOf(build.processes);
  const began = performance.now();
  const until = began + length.seconds * 1000;
  const isOver = () => performance.now() >= until || sent >= length.tasks;
  const load = await send(build, {
    next: () => (isOver() || !++sent ? undefined : next()),
    may: () => isOver() || sent - (model.answered() - first) < MAX_BACKLOG,
    onChange: model.onAnswers,
  });
  const tasks = load.times.length;
  await untilEnded(build, model, first + tasks, outputs + tasks);
  const took = (performance.now() - began) / 1000;
  const cpu = measured(used(before, cpuOf(build.processes)), tasks);
  await model.setDelay(0);
  return { tasks, seconds: took, cpu, p50: quantile(load.times, 0.5), p99: quantile(load.times, 0.99) };
}

/** Milliseconds from a submission to its result, one at a time and so many in a second. */
export async function light(build: Build, model: Model, { tasks, rate }: { tasks: number; rate: number }) {
  await model.shut(false);
  const next = submissions(build, 'wait=10');
  const times: number[] = [];
  const began = performance.now();
  let done = 0;
  const change: Array<() => void> = [];
  const timer = setInterval(() => {
    for (const look of change) look();
  }, 1);
  const load = await sendLoad({
    url: build.urls[0] as string,
    connections: 1,
    next: () => (done++ < tasks ? next() : undefined),
    may: () => performance.now() - began >= (done * 1000) / rate,
    onChange: (listener) => change.push(listener),
    good: 200,
  });
  clearInterval(timer);
  if (load.wrong) throw new Error(`${build.name} answered: ${load.wrong}`);
  times.push(...load.times);
  return times;
}
