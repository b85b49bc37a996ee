import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { readFields } from '../../src/api/routes/document-fields.ts';
import { fieldErrors, parseBody, parseJson, parseQuery, time } from '../../src/api/validate.ts';
import { ProblemError } from '../../src/errors.ts';
import { maxCharacters, strictObject } from '../../src/tasks/schemas.ts';

function problemOf(work: () => unknown): ProblemError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(ProblemError);
    return error as ProblemError;
  }
  throw new Error('nothing was thrown');
}

const schema = v.strictObject({
  name: v.string(),
  one: v.optional(strictObject({ a: v.optional(v.number()) })),
  list: v.optional(v.array(v.strictObject({ 'a/b~c': v.number() }))),
  any: v.optional(v.record(v.string(), v.number())),
});

describe('parsing a body', () => {
  it.each([
    [{}, '#/name', 'is missing'],
    [{ name: 5 }, '#/name', 'must be string, not 5'],
    [{ name: 'x', one: [] }, '#/one', 'must be an object'],
    [{ name: 'x', one: 5 }, '#/one', 'must be an object'],
    [{ name: 'x', one: [1] }, '#/one', 'must be an object'],
    [{ name: null }, '#/name', 'must be string, not null'],
    [{ name: 'x', list: [{ 'a/b~c': 1 }, { 'a/b~c': 'x' }] }, '#/list/1/a~1b~0c', 'must be number, not "x"'],
    [{ name: 'x', list: [{}] }, '#/list/0/a~1b~0c', 'is missing'],
    [{ name: 'x', role: 1 }, '#/role', 'is not known here'],
    [{ name: 'x', any: { '': 'x' } }, '#/any/', 'must be number, not "x"'],
    [5, '#', 'must be an object'],
    [null, '#', 'must be an object'],
    [[], '#', 'must be an object'],
  ])('of %j points at %s and says that it %s', (body, pointer, detail) => {
    expect(problemOf(() => parseBody(schema, body)).errors).toEqual([{ pointer, detail }]);
  });

  it('answers what the schema makes of it', () => {
    expect(parseBody(schema, { name: 'x', any: { a: 1 } })).toEqual({ name: 'x', any: { a: 1 } });
  });

  it('names at most 20 errors', () => {
    const list = Array.from({ length: 30 }, () => ({}));
    expect(problemOf(() => parseBody(schema, { name: 'x', list })).errors).toHaveLength(20);
  });

  it('puts a base before the pointers', () => {
    const { issues = [] } = v.safeParse(v.strictObject({ a: v.string() }), { a: 1 });
    expect(fieldErrors(issues, '#/tasks/3/input')[0]?.pointer).toBe('#/tasks/3/input/a');
  });

  it('looks into JSON that came as a text for what cannot be stored, too', () => {
    const metadata = String.raw`{"a": ["x", "\u0000"]}`;
    expect(problemOf(() => readFields({ metadata })).errors).toEqual([
      { pointer: '#/metadata/a/1', detail: 'holds a NUL character or half of a surrogate pair' },
    ]);
  });

  it('looks at queries for what cannot be stored, too', () => {
    expect(
      problemOf(() => parseQuery(v.strictObject({ tag: v.string() }), new URLSearchParams('tag=a%00'))).errors?.[0]
        ?.pointer,
    ).toBe('#/tag');
  });
});

describe('reading JSON', () => {
  it.each([
    '{"a":1,"a":1}',
    '{"a":{"b":1,"c":2,"b":3}}',
    '[{"a":1},{"b":1,"b":1}]',
    '{"a" :1, "a"\t:\n2}',
    '{"":1,"":2}',
    '{"é":1,"\\u00e9":2}',
  ])('refuses the name that stands twice in %s', (text) => {
    expect(problemOf(() => parseJson(text)).message).toContain('twice');
  });

  it.each([
    '{}',
    '[]',
    '"a:b"',
    '{"a":"b:\\"c\\":"}',
    '{"a":{"a":{"a":1}}}',
    '{"a\\"":1,"a":2}',
    '{"\\\\":1,"\\\\\\\\":2}',
    '["a","a"]',
    '{"__proto__":1}',
    '{"0":1,"1":["x",{"0":2}]}',
  ])('takes %s', (text) => {
    expect(parseJson(text)).toEqual(JSON.parse(text));
  });

  it('does not show more of a bad body than its beginning', () => {
    expect(problemOf(() => parseJson(`x${'y'.repeat(10_000)}`)).message.length).toBeLessThan(300);
  });

  it('reads a megabyte of quotes in a blink', () => {
    const text = JSON.stringify({ a: '"'.repeat(500_000), b: '\\'.repeat(200_000) });
    const started = performance.now();
    parseJson(text);
    expect(performance.now() - started).toBeLessThan(500);
  });
});

describe('a query', () => {
  it.each(['a=1&a=1', 'a=1&b=2&a=3&a=4'])('may not give a parameter twice: %s', (query) => {
    const open = v.strictObject({ a: v.string(), b: v.optional(v.string()) });
    expect(problemOf(() => parseQuery(open, new URLSearchParams(query))).errors).toEqual([
      { pointer: '#/a', detail: expect.stringContaining('is given twice') },
    ]);
  });
});

describe('an object of known fields', () => {
  it('stays one where fields are left out or need not be there', () => {
    const pair = strictObject({ a: v.number(), b: v.number() });
    for (const one of [v.omit(pair, ['a']), v.partial(pair)]) {
      expect(v.safeParse(one, []).success).toBe(false);
      expect(v.parse(one, { b: 1 })).toEqual({ b: 1 });
      expect(v.safeParse(one, { b: 1, c: 1 }).success).toBe(false);
    }
    expect(v.safeParse(v.omit(pair, ['a']), { a: 1, b: 1 }).success).toBe(false);
  });
});

describe('at most so many characters', () => {
  const three = v.pipe(v.string(), maxCharacters(3));

  it.each(['', 'abc', '\u{1f600}\u{1f600}\u{1f600}', 'a\u{1f600}b'])('are %j', (text) => {
    expect(v.parse(three, text)).toBe(text);
  });

  it.each(['abcd', '\u{1f600}\u{1f600}\u{1f600}a', 'a'.repeat(9)])('are not %j', (text) => {
    expect(v.safeParse(three, text).issues?.[0].message).toBe('must be at most 3 characters');
  });
});

describe('a time', () => {
  it.each([
    '2030-01-31T12:00:00Z',
    '2030-01-31T12:00:00.123456Z',
    '2028-02-29T00:00:00Z',
    '2000-02-29T00:00:00Z',
    '2030-01-31T12:00:00+05:30',
    '9999-12-31T23:59:59Z',
    '0001-01-01T00:00:00Z',
  ])('may be %s', (text) => {
    expect(v.parse(time, text)).toEqual(new Date(text));
  });

  it.each([
    '2030-02-29T00:00:00Z',
    '2100-02-29T00:00:00Z',
    '2030-04-31T00:00:00Z',
    '0000-01-01T00:00:00Z',
    '0001-01-01T00:00:00+01:00',
    '9999-12-31T23:59:59-01:00',
    '2030-01-31',
    '12:00',
    'now',
    '2030-01-31T12:00:00',
    '2030-01-31T12:00:00+00',
    '',
  ])('cannot be %j', (text) => {
    expect(v.safeParse(time, text).issues).toHaveLength(1);
  });
});
