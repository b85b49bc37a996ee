import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { spawnSutazai } from '../support/process.ts';
import { ROOT } from '../support/sources.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sutazai-secrets-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function command(args: string[], env = {}) {
  const sutazai = spawnSutazai(['secrets', ...args], env);
  return { code: await sutazai.ended, output: sutazai.output() };
}
/** Nobody can make up where alerts are sent to. */
const GIVEN = 'alert_chat_url';
const contents = (dir: string) =>
  Object.fromEntries(
    readdirSync(dir)
      .filter((name) => name !== GIVEN)
      .map((name) => [name, readFileSync(join(dir, name), 'utf8')]),
  );

test('secrets are generated once, closed to others, never shown, and replaced by --force alone', async () => {
  const dir = join(folder, 'my secrets');
  const made = await command(['generate', '--dir', dir]);
  const first = contents(dir);
  expect(made.code).toBe(0);
  expect(Object.keys(first)).toHaveLength(9);
  writeFileSync(join(dir, GIVEN), 'https://chat.example.com/hook');
  expect(statSync(dir).mode & 0o777).toBe(0o700);
  for (const [name, secret] of Object.entries(first)) {
    expect(made.output).toContain(`made ${join(dir, name)}`);
    expect(made.output).not.toContain(secret);
    expect(Buffer.from(secret, 'base64')).toHaveLength(32);
  }
  expect(new Set(Object.values(first)).size).toBe(9);
  // `npm run sutazai` runs at the root of the clone, wherever it is typed.
  const typed = { npm_lifecycle_event: 'sutazai', npm_package_name: 'sutazai', INIT_CWD: folder };
  expect(await command(['generate', '--dir', 'my secrets'], typed)).toEqual({ code: 0, output: '' });
  expect(contents(dir)).toEqual(first);
  expect((await command(['generate', '--dir', dir, '--force'])).code).toBe(0);
  for (const [name, secret] of Object.entries(contents(dir))) expect(secret).not.toBe(first[name]);
  expect(readFileSync(join(dir, GIVEN), 'utf8')).toBe('https://chat.example.com/hook');
});

test('every command explains itself', async () => {
  for (const args of [
    [],
    ['generate'],
    ['rotate'],
    ['rotate', 'jwt'],
    ['rotate', 'encryption'],
    ['rotate', 'database'],
  ]) {
    const { code, output } = await command([...args, '--help']);
    expect([code, output]).toEqual([0, expect.stringContaining(`sutazai secrets ${args.join(' ')}`.trim())]);
  }
  const script = join(ROOT, 'scripts/generate_secrets.sh');
  expect(execFileSync('sh', [script, '--help'], { encoding: 'utf8' })).toContain('--force');
});

test('rotate_db_password.sh runs the command here where a file is named, and in a container otherwise', () => {
  const script = join(ROOT, 'scripts/rotate_db_password.sh');
  for (const tool of ['docker', 'node']) {
    writeFileSync(join(folder, tool), `#!/bin/sh\nprintf '%s|' ${tool} "$@"\n`);
    chmodSync(join(folder, tool), 0o755);
  }
  const run = (env: Record<string, string>) =>
    execFileSync('sh', [script], { encoding: 'utf8', env: { PATH: `${folder}:${process.env.PATH}`, ...env } });
  const root = ROOT.replace(/\/$/, '');
  expect(run({ POSTGRES_PASSWORD_FILE: 'password' })).toBe(`node|${root}/bin/sutazai.mjs|secrets|rotate|database|`);
  const compose = run({});
  expect(compose).toMatch(/^docker\|compose\|.*\|api\|secrets\|rotate\|database\|$/);
  expect(compose).toContain(
    `--volume|${root}/secrets:/secrets|--env|POSTGRES_PASSWORD_FILE=/secrets/postgres_password|`,
  );
});
