import type { Bench } from './bench.ts';

/** Every bench by its name; a new one gets its line here. */
const BENCHES: Record<string, () => Promise<{ bench: Bench }>> = {
  affinity: () => import('./affinity/index.ts'),
  embed: () => import('./embed/index.ts'),
  fairness: () => import('./fairness/index.ts'),
  idle: () => import('./idle/index.ts'),
  limits: () => import('./limits/index.ts'),
  reads: () => import('./reads/index.ts'),
  sse: () => import('./streams/index.ts'),
  users: () => import('./users/index.ts'),
  waiting: () => import('./waiting/index.ts'),
  work: () => import('./work/index.ts'),
};

const [first = '', ...rest] = process.argv.slice(2);
// Without a name it is the whole of the work.
const [name, args] = first === '' || first.startsWith('--') ? ['work', process.argv.slice(2)] : [first, rest];
const load = BENCHES[name];
if (!load) {
  console.error(`npm run bench -- <name> [options]\n\nThere are: ${Object.keys(BENCHES).join(', ')}.`);
  process.exit(2);
}
// What was started ends with this process.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(130));
const { bench } = await load();
process.exit((await bench(args)) ? 0 : 1);
