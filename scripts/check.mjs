// `npm run check`: everything that a change has to pass, the quick things first.
import { spawnSync } from 'node:child_process';
import { ensurePostgres, ensurePrometheus, ensureRedis } from './programs.mjs';

const STEPS = [
  { name: 'format and lint', command: 'biome', args: ['ci', '.'], repeat: 'npm run lint' },
  { name: 'types', command: 'tsc', args: ['--noEmit'], repeat: 'npm run types' },
  { name: 'tests with coverage', command: 'vitest', args: ['run', '--coverage'], repeat: 'npm test -- --coverage' },
];

ensureRedis();
ensurePostgres();
ensurePrometheus();
for (const [index, { name, command, args, repeat }] of STEPS.entries()) {
  console.log(`\n[${index + 1}/${STEPS.length}] ${name}`);
  const { status } = spawnSync(command, args, { stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) {
    console.error(`\nThe check failed at: ${name}. To repeat this step alone: ${repeat}`);
    process.exit(1);
  }
}
console.log('\nThe check passed.');
