import { describe, expect, it } from 'vitest';
import { filesUnder, readText } from '../support/sources.ts';

const CASES = Array.from({ length: 50 }, (_, index) => `S${index + 1}`);
/** The name of a test, in quotes, that begins with the numbers of its cases: `S21, S22: …`. */
const NUMBERED = /['"`](S\d+(?:, S\d+)*): [^\n]+/g;

const files = filesUnder('tests', /\.test\.ts$/).filter((path) => path !== 'tests/unit/security-cases.test.ts');
const named = files.flatMap((path) =>
  [...readText(path).matchAll(NUMBERED)].flatMap(([, numbers = '']) =>
    numbers.split(', ').map((number) => ({ number, path })),
  ),
);

describe('the security cases', () => {
  it.each(CASES)('%s has a test that begins with its number', (number) => {
    expect(named.filter((one) => one.number === number).map(({ path }) => path)).not.toEqual([]);
  });

  it('are fifty: no test names another', () => {
    expect(named.filter(({ number }) => !CASES.includes(number))).toEqual([]);
  });
});
