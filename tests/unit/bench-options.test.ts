import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import {
  choice,
  flag,
  listOptions,
  number,
  part,
  readOptions,
  text,
  UsageError,
  whole,
  wholes,
} from '../load/options.ts';

const OPTIONS = {
  times: whole(3, 'rounds'),
  bcrypt: whole(8, 'a cost', [4, 15]),
  think: number(0.5, 'seconds'),
  most: number(undefined, 'a bound'),
  waiting: wholes([0, 10], 'how many wait'),
  backend: choice('redis', ['redis', 'postgres'], 'where the jobs are'),
  only: part(['product on redis', 'naive on redis'], 'builds'),
  profile: text('a folder'),
  plans: flag('prints the plans'),
};
const DEFAULTS = {
  ...{ times: 3, bcrypt: 8, think: 0.5, most: undefined, waiting: [0, 10] },
  ...{ backend: 'redis', only: '', profile: '', plans: false },
};

it('an option of a bench has the kind of its default', () => {
  expect(readOptions(OPTIONS, [])).toEqual(DEFAULTS);
  const given = '--times 1e6 --think=0 --most 1.5 --waiting 5,6 --backend postgres --only product --profile a --plans';
  expect(readOptions(OPTIONS, given.split(' '))).toEqual({
    ...{ times: 1_000_000, bcrypt: 8, think: 0, most: 1.5, waiting: [5, 6] },
    ...{ backend: 'postgres', only: 'product', profile: 'a', plans: true },
  });
  expect(readOptions(OPTIONS, ['--only', 'on redis', '--profile=-a'])).toMatchObject({
    only: 'on redis',
    profile: '-a',
  });
});

it.each([
  ['--tims 3', 'There is no option --tims.'],
  ['--constructor', 'There is no option --constructor.'],
  ['-t', 'There is no option -t.'],
  ['abc', '"abc" belongs to no option.'],
  ['--times abc', '--times wants a whole number of 1 or more, not "abc".'],
  ['--times 0', '--times wants a whole number of 1 or more, not "0".'],
  ['--times 1.5', '--times wants a whole number of 1 or more, not "1.5".'],
  ['--bcrypt 16', '--bcrypt wants a whole number from 4 to 15, not "16".'],
  ['--times', '--times wants a whole number of 1 or more, and nothing is given.'],
  ['--times --plans', '--times wants a whole number of 1 or more, and nothing is given.'],
  ['--think=', '--think wants a number of 0 or more, not "".'],
  ['--think=-1', '--think wants a number of 0 or more, not "-1".'],
  ['--think Infinity', '--think wants a number of 0 or more, not "Infinity".'],
  ['--waiting 1,,2', '--waiting wants whole numbers of 0 or more, with commas between them, not "1,,2".'],
  ['--backend mysql', '--backend wants redis or postgres, not "mysql".'],
  ['--only sqlite', '--only wants a part of a name listed below, not "sqlite".'],
  ['--plans=yes', '--plans is a switch and takes no value.'],
])('%s is refused with a line that says what is wrong', (given, message) => {
  expect(() => readOptions(OPTIONS, given.split(' '))).toThrow(new UsageError(message));
});

it('the options are listed with what they are by default, and which names there are', () => {
  const lines = listOptions(OPTIONS).split('\n');
  expect(lines).toHaveLength(Object.keys(OPTIONS).length);
  expect(lines[0]).toMatch(/^ {2}--times 3 +rounds$/);
  expect(lines[4]).toMatch(/^ {2}--waiting 0,10 +how many wait$/);
  expect(lines[5]).toMatch(/--backend redis +where the jobs are: redis or postgres$/);
  expect(lines[6]).toMatch(/--only … +builds whose name has this in it: product on redis; naive on redis$/);
  expect(lines[8]).toMatch(/--plans +prints the plans$/);
});

it('a bench that is asked for what it has not ends at once with the line, its options, and 2', () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', 'tests/load/run.ts', 'waiting', '--seconds', 'abc'],
    { encoding: 'utf8' },
  );
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr).toMatch(
    /^--seconds wants a whole number of 1 or more, not "abc"\.\n\nnpm run bench -- waiting \[options\]\n/,
  );
  expect(stderr).toContain('\n  --seconds 5 ');
  expect(stderr).not.toContain('    at ');
});
