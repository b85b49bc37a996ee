import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { backoffMs } from '../../src/tasks/define.ts';
import { echo } from '../../src/tasks/echo.ts';
import { createRegistry } from '../../src/tasks/index.ts';
import { LANES } from '../../src/tasks/lanes.ts';
import { jsonObject, modelName } from '../../src/tasks/schemas.ts';

const types = createRegistry({ vectors: true }).list();

describe('the registry of task types', () => {
  it.each([
    ['the same name twice', [echo, { ...echo }], 'stands there twice'],
    ['a name in capitals', [{ ...echo, name: 'Echo' }], 'the name must be words in lower case'],
    ['no name', [{ ...echo, name: undefined }], 'the name must be'],
    ['no value at all', [undefined], 'the name must be'],
    ['a lane that is none', [{ ...echo, lane: 'fast' }], `the lane must be one of ${LANES.join(', ')}`],
    ['no run function', [{ ...echo, run: undefined }], 'has no run function'],
    ['no example', [{ ...echo, examples: [] }], 'has no example'],
    ['a URL in a field that is none', [{ ...echo, urls: ['link'] }], 'urls names link'],
  ])('does not start with %s, and names the line', (_, given, message) => {
    expect(() => createRegistry({ vectors: true }, given)).toThrow(message);
    expect(() => createRegistry({ vectors: true }, given)).toThrow('src/tasks/index.ts');
  });

  it('leaves the vector types out where there is no vector store', () => {
    const names = createRegistry({ vectors: false })
      .list()
      .map(({ name }) => name);
    const without = types.filter(({ lane, vectors }) => lane !== 'vector' && vectors !== true);
    expect(names).toEqual(without.map(({ name }) => name));
    expect(names).not.toContain('rag.answer');
    expect(createRegistry({ vectors: false }).find('vector.search')).toBeUndefined();
  });

  it('S46: finds no type by a name of the prototype', () => {
    for (const name of ['constructor', '__proto__', 'toString', ''])
      expect(createRegistry({ vectors: true }).find(name)).toBeUndefined();
  });
});

describe.each(types.map((type) => [type.name, type] as const))('the task type %s', (_, type) => {
  it('takes its own examples', () => {
    for (const example of type.examples) expect(v.safeParse(type.input, example).issues).toBeUndefined();
  });

  it('refuses unknown fields, lists, texts and nothing as its input', () => {
    for (const wrong of [{ ...(type.examples[0] as object), role: 'admin' }, [], 'x', null, undefined, 5])
      expect(v.safeParse(type.input, wrong).success).toBe(false);
  });

  it('has bounds that make sense', () => {
    const { attempts, timeoutSeconds, backoff } = type.defaults;
    expect(attempts).toBeGreaterThanOrEqual(1);
    expect(timeoutSeconds).toBeGreaterThan(0);
    expect(backoff.maxMs).toBeGreaterThanOrEqual(backoff.minMs);
  });
});

describe('shared schemas', () => {
  it.each([[[]], ['x'], [null], [5], [undefined]])('take %j for no object', (value) => {
    expect(v.is(jsonObject, value)).toBe(false);
  });

  it('take an object with anything in it', () => {
    expect(v.parse(jsonObject, { a: [1, { b: null }] })).toEqual({ a: [1, { b: null }] });
  });

  it.each(['tinyllama', 'tinyllama:latest', 'hf.co/user/model:Q4_K_M', 'library/qwen2.5:0.5b'])(
    'take %s for a model',
    (name) => {
      expect(v.is(modelName, name)).toBe(true);
    },
  );

  it.each(['', ' ', '../etc/passwd', 'a//b', 'a b', '/a', 'a:', 'http://x', 'a\n', 'x'.repeat(201)])(
    'take %j for no model',
    (name) => {
      expect(v.is(modelName, name)).toBe(false);
    },
  );
});

describe('the wait before another attempt', () => {
  const backoff = { minMs: 1000, maxMs: 60_000 };
  it.each([
    [1, 1000],
    [2, 2000],
    [6, 32_000],
    [7, 60_000],
    [1000, 60_000],
  ])('after %d failures is anywhere up to %d ms', (failures, bound) => {
    expect(backoffMs(backoff, failures, () => 1)).toBe(bound);
    expect(backoffMs(backoff, failures, () => 0.5)).toBe(bound / 2);
    expect(backoffMs(backoff, failures, () => 0)).toBe(0);
  });
});
