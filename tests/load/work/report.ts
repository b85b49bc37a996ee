import { quantile, table } from '../bench.ts';
import { BACKENDS, type Backend } from '../rig/builds.ts';
import { cpuPerTask, type Phase, perSecond } from '../rig/phases.ts';
import type { Result } from './index.ts';

type PhaseName = 'accept' | 'drain' | 'sustain' | 'slow';

const count = (value: number) => (Number.isNaN(value) ? '' : Math.round(value).toLocaleString('en'));
const fixed = (value: number, digits: number) => (Number.isNaN(value) ? '' : value.toFixed(digits));
/** The median over the rounds. */
const of = ({ rounds }: Result, name: PhaseName, pick: (phase: Phase) => number) =>
  quantile(
    rounds.flatMap((round) => (round[name] ? [pick(round[name])] : [])),
    0.5,
  );

/** What a task of the product costs of the processor, as a part of what it costs in the naive build, where both were measured in turns. */
export function ratio(results: Result[], backend: Backend): number {
  const [product, naive] = ['product', 'naive'].map((build) =>
    results.find(({ name }) => name === `${build} on ${backend}`),
  );
  return product && naive ? of(product, 'sustain', cpuPerTask) / of(naive, 'sustain', cpuPerTask) : Number.NaN;
}

/** The tables of all builds. */
export function report(results: Result[]): string {
  const ratios = BACKENDS.map((backend) => [backend, ratio(results, backend)] as const)
    .filter(([, part]) => !Number.isNaN(part))
    .map(
      ([backend, part]) =>
        `On ${backend} a task of the product costs ${fixed(part, 2)} times what it costs in the naive build (both at once).`,
    );
  return [speeds(results), costs(results), ...ratios].join('\n\n');
}

function speeds(results: Result[]): string {
  const head = [
    ...['build', 'accepts/s', 'p50 ms', 'p99 ms', 'drain/s', 'sustained/s', 'light load p50 ms', 'p99 ms'],
    ...['API MB', 'worker MB'],
  ];
  const rows = results.map((result) => {
    const light = result.rounds.flatMap((round) => round.light ?? []);
    return [
      result.name,
      count(of(result, 'accept', perSecond)),
      fixed(
        of(result, 'accept', ({ p50 = Number.NaN }) => p50),
        1,
      ),
      fixed(
        of(result, 'accept', ({ p99 = Number.NaN }) => p99),
        1,
      ),
      count(of(result, 'drain', perSecond)),
      count(of(result, 'sustain', perSecond)),
      fixed(quantile(light, 0.5), 1),
      fixed(quantile(light, 0.99), 1),
      fixed(result.restMb?.api ?? Number.NaN, 0),
      fixed(result.restMb?.worker ?? Number.NaN, 0),
    ];
  });
  return table([head, ...rows]);
}

const PARTS = ['api', 'worker', 'postgres', 'redis'];
const PHASES: Record<PhaseName, string> = {
  accept: 'accepting alone',
  drain: 'working alone',
  sustain: 'both at once',
  slow: 'both, the model takes 20 ms',
};

function costs(results: Result[]): string {
  const head = ['CPU-ms a task', '', 'all', ...PARTS];
  const rows = results.flatMap((result) =>
    (Object.keys(PHASES) as PhaseName[]).map((name) => [
      result.name,
      PHASES[name],
      fixed(of(result, name, cpuPerTask), 3),
      ...PARTS.map((part) =>
        fixed(
          of(result, name, ({ cpu }) => cpu[part] ?? 0),
          3,
        ),
      ),
    ]),
  );
  return table([head, ...rows]);
}
