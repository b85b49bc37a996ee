import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineBench, machine, quantile, table } from '../bench.ts';
import { flag, number, text, whole } from '../options.ts';
import { jain, waitsOf } from './measures.ts';
import { type Panel, plot } from './plot.ts';
import { type RealRun, runReally } from './real.ts';
import { scenarios } from './scenarios.ts';
import { ORDERS, type Order, type SimRun, simulate } from './simulate.ts';

const AGING_MS = 600_000;
/** Jain's index where users of one class are treated alike; with real processes a task more or less is a part of what a user has. */
const ALIKE = 0.95;
const ALIKE_REALLY = 0.85;
const PLOT = fileURLToPath(new URL('../../../docs/fairness.svg', import.meta.url));

const USAGE = {
  about:
    'Compares the order of arrival, strict priority and ours: simulated, which gives the same each time, and really',
  options: {
    tasks: whole(1_200, 'tasks of the user with many, in the real run'),
    seed: number(9, 'the seed of the simulation'),
    redis: text('the URL of a Redis for the real run; without one the jobs are in Postgres'),
    simulate: flag('leaves the real run out'),
    write: flag('writes the plot to docs/fairness.svg'),
  },
};

export const bench = defineBench(USAGE, async (values) => {
  const panels: Panel[] = [];
  let good = true;
  for (const { name, about, slots, tasks, kinds } of scenarios(values.seed)) {
    console.log(`Simulated, ${name}: ${about}.\n`);
    const runs = new Map(ORDERS.map((order) => [order, simulate(tasks, { order, slots, agingMs: AGING_MS })]));
    const index = report(runs, { slots, kinds, untilMs: halfOf(tasks, slots) });
    const last = Math.max(0, ...waitsOf(runs.get('ours') ?? [], kinds['last class'] ?? []));
    good &&= kinds['last class'] ? last <= (9 * AGING_MS) / 1_000 + 60 : index >= ALIKE;
    panels.push(panelOf(`Simulated: ${name}`, runs, kinds));
  }
  if (!values.simulate) {
    const real = await runReally(values.tasks, values.redis);
    const slots = real[0]?.slots ?? 1;
    const kinds = { heavy: ['heavy'], light: ['light1', 'light2', 'light3', 'light4'], urgent: ['urgent'] };
    console.log(
      `Really: ${values.tasks} tasks of one user at once, four users with a task every half second, and one whose tasks every half second are of class 1; ${slots} slots, calls of 50 ms, ${values.redis ? 'Redis' : 'jobs in Postgres'}. ${machine()}.\n`,
    );
    const runs = new Map(real.map((run): [Order, SimRun[]] => [run.order, run.runs]));
    good &&= report(runs, { slots, kinds, untilMs: halfOf(real[0]?.runs ?? [], slots) }) >= ALIKE_REALLY;
    good &&= real.every(({ failed }: RealRun) => failed === 0);
    panels.push(panelOf('Really', runs, kinds));
  }
  const svg = plot(panels, 'Wait for the start, seconds: the middle one / the slowest of a hundred');
  if (values.write) writeFileSync(PLOT, svg);
  return good;
});

/** Half of the time that the work takes: until then, there is more to do than can be done. */
const halfOf = (tasks: ReadonlyArray<{ ms: number }>, slots: number) =>
  tasks.reduce((sum, { ms }) => sum + ms, 0) / slots / 2;

/** Prints what came of the orders; answers Jain's index of ours. */
function report(
  all: Map<Order, SimRun[]>,
  { slots, kinds, untilMs }: { slots: number; kinds: Record<string, string[]>; untilMs: number },
): number {
  const rows = [
    ['order', 'users', 'tasks', 'wait p50 s', 'wait p99 s', 'longest s', "Jain's index", 'all done after s'],
  ];
  const indexes = new Map<Order, number>();
  for (const [order, runs] of all) {
    indexes.set(order, jain(runs, slots, untilMs));
    const end = runs.reduce((last, { started, ms }) => Math.max(last, started + ms), 0) / 1_000;
    for (const [kind, users] of Object.entries(kinds)) {
      const waits = waitsOf(runs, users);
      const numbers = [quantile(waits, 0.5), quantile(waits, 0.99), quantile(waits, 1)].map((wait) => wait.toFixed(2));
      rows.push([
        order,
        kind,
        `${waits.length}`,
        ...numbers,
        (indexes.get(order) as number).toFixed(3),
        end.toFixed(1),
      ]);
    }
  }
  console.log(`${table(rows)}\n`);
  return indexes.get('ours') ?? 0;
}

function panelOf(title: string, all: Map<Order, SimRun[]>, kinds: Record<string, string[]>): Panel {
  const groups = Object.entries(kinds).map(([label, users]) => ({
    label,
    bars: [...all].map(([order, runs]) => {
      const waits = waitsOf(runs, users);
      return { label: order, p50: quantile(waits, 0.5), p99: quantile(waits, 0.99) };
    }),
  }));
  return { title, groups };
}
