import type { Bench } from './bench.ts';
import { columns, listOptions, UsageError } from './options.ts';

/** Every bench by its name; a new one gets its line here. */
const BENCHES = new Map<string, () => Promise<{ bench: Bench }>>([
  ['affinity', () => import('./affinity/index.ts')],
  ['embed', () => import('./embed/index.ts')],
  ['fairness', () => import('./fairness/index.ts')],
  ['idle', () => import('./idle/index.ts')],
  ['limits', () => import('./limits/index.ts')],
  ['reads', () => import('./reads/index.ts')],
  ['sse', () => import('./streams/index.ts')],
  ['users', () => import('./users/index.ts')],
  ['waiting', () => import('./waiting/index.ts')],
  ['work', () => import('./work/index.ts')],
]);

async function helpOfAll(): Promise<string> {
  const all = await Promise.all([...BENCHES].map(async ([name, load]) => [name, (await load()).bench] as const));
  const work = all.find(([name]) => name === 'work')?.[1];
  return [
    'npm run bench -- [name] [options]',
    columns(all.map(([name, { about }]) => [name, about])),
    `Without a name it is work, whose options are, with what they are by default:\n${listOptions(work?.options ?? {})}`,
    '`npm run bench -- <name> --help` lists those of another.',
  ].join('\n\n');
}

const helpOf = (name: string, { about, options }: Bench) =>
  `npm run bench -- ${name} [options]\n\n${about}.\n\nOptions, with what they are by default:\n${listOptions(options)}`;

const args = process.argv.slice(2);
// Without a name it is the whole of the work.
const isNamed = args[0] !== undefined && !args[0].startsWith('-');
const name = (isNamed && args.shift()) || 'work';
const bench = (await BENCHES.get(name)?.())?.bench;
if (!bench) {
  console.error(`There is no bench ${JSON.stringify(name)}.\n\n${await helpOfAll()}`);
  process.exit(2);
}
if (args.includes('--help') || args.includes('-h')) {
  console.log(isNamed ? helpOf(name, bench) : await helpOfAll());
  process.exit(0);
}
// What was started ends with this process.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(130));
try {
  process.exit((await bench.start(args)) ? 0 : 1);
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`${error.message}\n\n${helpOf(name, bench)}`);
  process.exit(2);
}
