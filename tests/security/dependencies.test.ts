import { expect, test } from 'vitest';
import { readText } from '../support/sources.ts';

interface Locked {
  version: string;
  resolved?: string;
  integrity?: string;
}

const packages: Record<string, Locked> = JSON.parse(readText('package-lock.json')).packages;

test.each([
  ['hono', '4.12.21'],
  ['@hono/node-server', '1.19.13'],
  ['bullmq', '6.3.3'],
])('S50: %s is locked at %s or later, wherever it is installed', (name, floor) => {
  const copies = Object.entries(packages).filter(([path]) => path.endsWith(`node_modules/${name}`));
  expect(copies.length).toBeGreaterThan(0);
  for (const [path, { version }] of copies) expect(isAtLeast(version, floor), `${path} ${version}`).toBe(true);
});

test('S50: every package is locked by the hash of what it holds, so that no registry can send another', () => {
  const loose = Object.entries(packages).filter(
    ([path, { integrity = '' }]) => path !== '' && !/^sha512-/.test(integrity),
  );
  expect(loose.map(([path]) => path)).toEqual([]);
});

test('S50: no package comes from anywhere but the registry', () => {
  for (const [path, { resolved }] of Object.entries(packages))
    if (resolved !== undefined) expect(resolved, path).toMatch(/^https:\/\/registry\.npmjs\.org\//);
});

test('S50: what the product itself depends on has one version, not a range', () => {
  const { dependencies } = JSON.parse(readText('package.json'));
  for (const [name, version] of Object.entries(dependencies)) expect(version, name).toMatch(/^\d+\.\d+\.\d+$/);
});

/** Compares versions of three numbers. */
function isAtLeast(version: string, floor: string): boolean {
  const [given, wanted] = [version, floor].map((text) => text.split(/[.-]/).slice(0, 3).map(Number));
  for (const [index, part] of (wanted ?? []).entries()) {
    const difference = (given?.[index] ?? 0) - part;
    if (difference !== 0) return difference > 0;
  }
  return true;
}
