import type { Bench } from './bench.ts';

/** Every bench by its name; a new one gets its line here. */
const BENCHES: Record<string, () => Promise<{ bench: Bench }>> = {
  affinity: () => import('./affinity/index.ts'),
  embed: () => import('./embed/index.ts'),
  reads: () => import('./reads/index.ts'),
  sse: () => import('./streams/index.ts'),
};

const [name = '', ...args] = process.argv.slice(2);
const load = BENCHES[name];
if (!load) {
  console.error(`npm run bench -- <name> [options]\n\nThere are: ${Object.keys(BENCHES).join(', ')}.`);
  process.exit(2);
}
const { bench } = await load();
process.exit((await bench(args)) ? 0 : 1);
