import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
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

it('installs nothing again after an `npm ci` of somebody else, only what it left out', () => {
  const clone = join(folder, 'clone');
  const write = (path: string, text: string, mode?: number) => {
    mkdirSync(dirname(join(clone, path)), { recursive: true });
    writeFileSync(join(clone, path), text, { mode });
  };
  const npmSays = (packages: object) => write('node_modules/.package-lock.json', JSON.stringify({ packages }));
  const start = () => {
    rmSync(join(clone, 'node_modules/.sutazai-installed'), { force: true });
    const env = { PATH: `${join(clone, 'bin')}:${process.env.PATH}` };
    return spawnSync(process.execPath, [join(clone, 'scripts/run.mjs')], { env, encoding: 'utf8' });
  };
  const packages = {
    'node_modules/node': { version: '24.0.0', integrity: 'sha512-a' },
    'node_modules/vitest': { version: '4.0.0', integrity: 'sha512-b', dev: true },
    'node_modules/for-others': { version: '1.0.0', optional: true, os: ['plan9'], cpu: [process.arch] },
    'node_modules/for-us': { version: '1.0.0', optional: true, os: [process.platform], cpu: [process.arch] },
  };
  const { 'node_modules/for-others': _, ...installed } = packages;
  write('package.json', '{"type": "module"}');
  write('package-lock.json', JSON.stringify({ packages: { '': { name: 'clone' }, ...packages } }));
  write('src/main.ts', 'console.log("runs");');
  write('bin/npm', '#!/bin/sh\nexit 1\n', 0o755);
  write('scripts/run.mjs', '');
  copyFileSync(join(ROOT, 'scripts/run.mjs'), join(clone, 'scripts/run.mjs'));
  mkdirSync(join(clone, 'node_modules/node/bin'), { recursive: true });
  mkdirSync(join(clone, 'node_modules/vitest'));
  symlinkSync(process.execPath, join(clone, 'node_modules/node/bin/node'));
  npmSays(installed);
  expect(start()).toMatchObject({ status: 0, stdout: 'runs\n', stderr: '' });
  for (const path of Object.keys(installed)) {
    npmSays({ ...installed, [path]: undefined });
    expect(start().stderr, path).toContain('Installing');
  }
  npmSays({ ...installed, 'node_modules/node': { version: '24.0.0', integrity: 'sha512-c' } });
  expect(start().stderr).toContain('Installing');
});

it('SIGTERM to the process of `npm start` alone stops what it started', async () => {
  const npm = spawn('npm', ['start'], {
    cwd: folder,
    env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, HOME: folder },
  });
  const ended = once(npm, 'exit');
  let output = '';
  npm.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await until('it is up', () => output.includes('is up as'));
  const pid = Number(/is up as (\d+)/.exec(output)?.[1]);
  npm.kill('SIGTERM');
  await until('it is told', () => output.includes('stops'));
  await until('it is gone', () => !isThere(pid));
  // It writes its log into the folder at its end.
  await ended;
});

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
