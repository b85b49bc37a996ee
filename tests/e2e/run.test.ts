import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, it } from 'vitest';
import { ROOT } from '../support/product.ts';
import { until } from '../support/until.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sutazai-run-'));
  for (const one of ['scripts', 'src', 'node_modules']) mkdirSync(join(folder, one));
  copyFileSync(join(ROOT, 'scripts/run.mjs'), join(folder, 'scripts/run.mjs'));
  const scripts = { start: 'node scripts/run.mjs start' };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module', scripts }));
  writeFileSync(join(folder, 'package-lock.json'), '{}');
  writeFileSync(join(folder, 'node_modules/.sutazai-installed'), createHash('sha256').update('{}').digest('hex'));
  writeFileSync(
    join(folder, 'src/main.ts'),
    `process.on('SIGTERM', () => { console.log('stops'); process.exit(0); });
     setInterval(() => {}, 1_000);
     console.log('is up as', process.pid);`,
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

it('SIGTERM to the process of `npm start` alone stops what it started', async () => {
  const npm = spawn('npm', ['start'], {
    cwd: folder,
    env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, HOME: folder },
  });
  let output = '';
  npm.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await until('it is up', () => output.includes('is up as'), { withinMs: 20_000 });
  const pid = Number(/is up as (\d+)/.exec(output)?.[1]);
  npm.kill('SIGTERM');
  await until('it is told', () => output.includes('stops'), { withinMs: 10_000 });
  await until('it is gone', () => !isThere(pid));
});

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
