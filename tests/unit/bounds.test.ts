import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { expect, it } from 'vitest';
import { openHome } from '../../src/embedded/home.ts';
import { generate } from '../../src/tasks/generate.ts';

it.each([
  ['num_ctx', [1, 1_048_576], [0, -1, 1_048_577, 1.5]],
  ['num_predict', [-2, -1, 0, 1_048_576], [-3, 1_048_577, 1e300]],
  ['num_keep', [-1, 4], [-2, 1_048_577]],
])('the option %s has bounds', (name, good, wrong) => {
  const issues = (value: number) => v.safeParse(generate.input, { prompt: 'x', options: { [name]: value } }).issues;
  for (const value of good) expect(issues(value), `${value}`).toBeUndefined();
  for (const value of wrong)
    expect(issues(value)?.[0]?.message, `${value}`).toMatch(/whole number from -?\d+ to 1048576/);
});

it('a DATA_DIR that cannot be made is refused at once, and one several folders deep is made', () => {
  expect(() => openHome('/proc/nope/deeper')).toThrow(/DATA_DIR=\/proc\/nope\/deeper cannot be made/);
  const parent = mkdtempSync(join(tmpdir(), 'sutazai-home-'));
  writeFileSync(join(parent, 'file'), '');
  expect(() => openHome(join(parent, 'file', 'below'))).toThrow(/cannot be made/);
  const home = openHome(join(parent, 'a', 'b'));
  expect(statSync(join(parent, 'a', 'b')).mode & 0o777).toBe(0o700);
  home.close();
  rmSync(parent, { recursive: true });
});
