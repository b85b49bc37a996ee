import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import type { ClaimedTask, Settlement } from '../../src/db/tasks/run.ts';
import { TaskError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { MAX_JSON_DEPTH, MAX_JSON_NAMES } from '../../src/tasks/clean.ts';
import { defineTask } from '../../src/tasks/define.ts';
import { echo } from '../../src/tasks/echo.ts';
import { createRunningAttempts } from '../../src/workers/attempt.ts';
import { runTask } from '../../src/workers/run.ts';

let ended = 0;

/** Runs one attempt of a type whose `run` is this, and answers what is settled of it. */
async function settled(run: () => unknown, claimed?: Partial<ClaimedTask> | 'nothing'): Promise<Settlement> {
  let given: Settlement | undefined;
  const task = {
    ...{ id: 'a', type: 'test', lane: 'system', waited_seconds: 0, input: {} },
    ...{ attempt: 1, parkings: 0, failures: 0, max_attempts: 3, timeout_ms: 1_000 },
  };
  const type = defineTask({
    ...echo,
    name: 'test',
    input: v.unknown(),
    output: v.unknown(),
    defaults: { attempts: 3, timeoutSeconds: 1, backoff: { minMs: 1_000, maxMs: 60_000 } },
    run: async () => run(),
  });
  await runTask(
    { id: 'a', generation: 0 },
    {
      registry: { find: () => type, list: () => [type], all: () => [type] },
      running: createRunningAttempts(),
      tools: () => ({}) as never,
      reports: { start: () => {}, end: async () => {} },
      claim: async () =>
        claimed === 'nothing' ? undefined : { task: { ...task, ...claimed } as ClaimedTask, askedAt: 0 },
      settle: async (settlement) => {
        given = settlement;
        return undefined;
      },
      onSettled: async () => {},
      ended: () => void ended++,
      maxOutputBytes: 10_000_000,
      log: createLog('silent'),
    },
  );
  return given as Settlement;
}

const nested = (depth: number): unknown => JSON.parse('['.repeat(depth) + ']'.repeat(depth));
function cyclic(): object {
  const value: Record<string, unknown> = { ok: true };
  value.self = { value };
  return value;
}

it('whoever claimed a task says that it is over, and nobody whose claim gave nothing', async () => {
  const before = ended;
  expect(await settled(() => 1, 'nothing')).toBeUndefined();
  expect(ended).toBe(before);
  await settled(() => 1);
  expect(ended).toBe(before + 1);
});

describe('an output', () => {
  it.each<[string, unknown, string]>([
    ['nests too deep', { a: nested(MAX_JSON_DEPTH + 1) }, '#/a/0/0'],
    ['nests so deep that nothing walks through it', nested(200_000), 'nests deeper'],
    ['is a cycle', cyclic(), '#/self/value/self'],
    [
      'has too many names',
      { a: [Object.fromEntries(Array.from({ length: MAX_JSON_NAMES + 1 }, (_, n) => [`k${n}`, n]))] },
      '#/a/0 has more than',
    ],
    ['holds a BigInt', { a: 1n }, '#/a is not JSON but of the type bigint'],
    ['holds a function', [() => 1], '#/0 is not JSON but of the type function'],
    ['holds a Date', { at: new Date() }, '#/at is not JSON but a Date'],
    ['holds a Map', { 'a/b': new Map() }, '#/a~1b is not JSON but a Map'],
    ['holds what is no number', { a: Number.NaN }, '#/a is not a finite number'],
    ['has a hole', [1, undefined], '#/1 is not JSON but of the type undefined'],
    ['is nothing', undefined, '# is not JSON but of the type undefined'],
    [
      'cannot be read',
      {
        get a() {
          throw new Error('no such thing');
        },
      },
      'no such thing',
    ],
  ])('that %s fails the task once, for good, and says where', async (_, output, said) => {
    const { status, outcome, error } = await settled(() => output);
    expect([status, outcome]).toEqual(['failed', 'failed']);
    expect(error).toMatchObject({ code: 'invalid_output', retryable: false, message: expect.stringContaining(said) });
  });

  it('is stored clean, without the fields that are undefined, and with any name', async () => {
    const odd = JSON.parse('{"__proto__":{"a":1},"constructor":"x\\u0000"}');
    const { status, output } = await settled(() => ({ odd, left: undefined, half: '\ud83d', deep: nested(60) }));
    expect(status).toBe('completed');
    expect(output).toBe(
      `{"odd":{"__proto__":{"a":1},"constructor":"x"},"half":"\ufffd","deep":${'['.repeat(60)}${']'.repeat(60)}}`,
    );
  });

  it('of millions of numbers is looked through without much ado', async () => {
    const vectors = Array.from({ length: 500 }, () => Array.from({ length: 1_000 }, (_, n) => n));
    expect((await settled(() => vectors)).status).toBe('completed');
  });
});

describe('an error', () => {
  const fail = (error: unknown) => () => {
    throw error;
  };

  it('is kept short and storable', async () => {
    const { error } = await settled(fail(new TaskError('upstream_rejected', `${'x'.repeat(1_999)}\u{1f600}\u0000`)));
    expect(error?.message).toBe(`${'x'.repeat(1_999)}\ufffd`);
  });

  it('of a database that is away uses up no attempt, unless that comes again and again or it refuses this statement alone', async () => {
    const away = fail(Object.assign(new Error('terminating connection'), { code: '57P01' }));
    const last = { attempt: 3, failures: 2 };
    expect(await settled(away, last)).toMatchObject({
      ...{ status: 'pending', outcome: 'released', new_job: false },
      error: { code: 'upstream_unavailable', retryable: true },
    });
    // As many are forgiven to one that was parked often.
    expect(await settled(away, { ...last, attempt: 500, parkings: 497 })).toMatchObject({ outcome: 'released' });
    expect(await settled(away, { ...last, attempt: 13 })).toMatchObject({ outcome: 'failed' });
    const tooMuch = fail(Object.assign(new Error('canceling statement'), { code: '57014' }));
    expect(await settled(tooMuch, last)).toMatchObject({ status: 'failed', error: { code: 'internal_error' } });
  });

  it('that is for later says itself when it is worth coming back, however often the task has been back', async () => {
    const later = (retryAfterMs?: number) =>
      settled(fail(new TaskError('upstream_unavailable', 'away', { later: true, retryAfterMs })), { attempt: 20 });
    const told = await later(4_000);
    expect(told).toMatchObject({ status: 'pending', outcome: 'released', new_job: false });
    expect(told.delay_ms).toBeGreaterThanOrEqual(4_000);
    expect(told.delay_ms).toBeLessThanOrEqual(5_000);
    const untold = await later();
    expect(untold.delay_ms).toBeGreaterThanOrEqual(30_000);
    expect(untold.delay_ms).toBeLessThanOrEqual(60_000);
  });
});
