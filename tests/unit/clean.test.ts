import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  cleanJson,
  cleanText,
  countNames,
  findUnstorable,
  isStorable,
  MAX_JSON_DEPTH,
  MAX_JSON_NAMES,
} from '../../src/tasks/clean.ts';

const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);

describe('what may be stored', () => {
  it.each([
    ['NUL', { a: ['x', 'a\0b'] }, '#/a/1'],
    ['a lone surrogate', '\ud800', '#'],
    ['a lone surrogate in a name', { a: { '\udc00': 1 } }, '#/a/\ufffd'],
    ['Infinity', { a: Number.POSITIVE_INFINITY }, '#/a'],
    ['-Infinity', [0, Number.NEGATIVE_INFINITY], '#/1'],
    ['NaN', Number.NaN, '#'],
    ['__proto__', JSON.parse('{"a":{"__proto__":1}}'), '#/a/__proto__'],
    ['a name with / and ~', { 'a/b~c': '\0' }, '#/a~1b~0c'],
    ['65 levels', nested(MAX_JSON_DEPTH + 1), `#${'/0'.repeat(MAX_JSON_DEPTH)}`],
    [
      'too many names',
      { a: Object.fromEntries(Array.from({ length: MAX_JSON_NAMES + 1 }, (_, index) => [`k${index}`, 0])) },
      '#/a',
    ],
  ])('is not %s', (_, value, pointer) => {
    expect(findUnstorable(value)?.pointer).toBe(pointer);
  });

  it.each([
    [null],
    [0],
    [-0],
    [Number.MAX_VALUE],
    [''],
    ['\u{1f600}\n\t'],
    [{}],
    [[[], {}]],
    [{ proto: 1, toString: 2, hasOwnProperty: 3, constructor: { prototype: 4 } }],
    [nested(MAX_JSON_DEPTH)],
    [Array(MAX_JSON_NAMES + 1).fill(0)],
  ])('is the value of case %#', (value) => {
    expect(findUnstorable(value)).toBeUndefined();
  });

  it('is found without a stack overflow in what nests 100,000 deep', () => {
    const deep = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000)) as unknown;
    expect(findUnstorable(deep)?.detail).toContain('nests deeper');
    expect(countNames(deep)).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('cleaning', () => {
  it.each([
    ['plain', 'plain'],
    ['a\0b\0', 'ab'],
    ['a\ud800b', 'a\ufffdb'],
    ['\u{1f600}', '\u{1f600}'],
  ])('makes of the text %j the text %j', (given, wanted) => {
    expect(cleanText(given)).toBe(wanted);
  });

  it('cleans texts and names at any depth and leaves the rest', () => {
    expect(cleanJson({ 'a\0': ['\ud800', { b: null, c: 1.5, d: true }] })).toEqual({
      a: ['\ufffd', { b: null, c: 1.5, d: true }],
    });
  });

  it('leaves nothing that could not be stored as text, whatever the value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        const text = JSON.stringify(cleanJson(value));
        expect(text).not.toContain('\\u0000');
        expect(isStorable(text)).toBe(true);
      }),
    );
  });

  it('counts the names of all objects', () => {
    expect(countNames({ a: { b: 1, c: [{ d: 1 }, { d: 2 }] }, e: 'x' })).toBe(6);
    expect([countNames([]), countNames('x'), countNames(null), countNames({})]).toEqual([0, 0, 0, 0]);
  });
});
