import { describe, expect, test } from 'vitest';
import { idInUrlToKey, idToKey, keyToId } from '../../src/embedded/vectors/ids.ts';
import { type Json, parseJson, shortFloat, stringifyJson } from '../../src/embedded/vectors/json.ts';
import {
  mergePayload,
  mergePayloadAt,
  removeFromPayload,
  selectPayload,
} from '../../src/embedded/vectors/payload-edit.ts';
import { parsePath } from '../../src/embedded/vectors/payload-path.ts';

const UUID = '5c56c793-69f3-4fbf-87e6-c4bf54c28c26';

describe('point ids', () => {
  test('are ordered by what they are stored under: numbers by value, then UUIDs', () => {
    const ids = [0, 9, 10, 256, Number.MAX_SAFE_INTEGER, 2n ** 63n, 2n ** 64n - 1n, UUID];
    const keys = ids.map((id) => String(idToKey(id)));
    expect(keys.toSorted()).toEqual(keys);
    expect(keys.map(keyToId)).toEqual(ids);
  });

  test.each([[UUID.toUpperCase()], [UUID.replaceAll('-', '')], [`urn:uuid:${UUID}`]])('take the UUID %s', (text) => {
    expect(keyToId(String(idToKey(text)))).toBe(UUID);
  });

  test.each([[-1], [1.5], [2 ** 53], [2n ** 64n], ['1'], [''], [`${UUID}0`], [null], [[1]], [{}]])(
    'refuse %s',
    (id) => {
      expect(idToKey(id)).toBeUndefined();
    },
  );

  test('in an address are read from text', () => {
    expect(idInUrlToKey('42')).toBe(idToKey(42));
    expect(idInUrlToKey(UUID)).toBe(idToKey(UUID));
    for (const text of ['-1', '1.5', '99999999999999999999', 'abc']) expect(idInUrlToKey(text)).toBeUndefined();
  });
});

describe('JSON', () => {
  test('keeps every digit of large integers and leaves other numbers alone', () => {
    const text = '{"a":[18446744073709551615,-9007199254740993,1.2345678901234567,1e+300],"b":"12345678901234567890"}';
    expect(stringifyJson(parseJson(text))).toBe(text);
  });

  test('is refused when it is nested too deeply', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    expect(() => parseJson(nested(128))).not.toThrow();
    expect(() => parseJson(nested(129))).toThrow('recursion limit exceeded');
  });

  test('shows 32-bit floats as short as they can be', () => {
    for (const value of [0, 0.1, -1.5, 1e-20, 16_777_216, 3.4028235e38])
      expect(shortFloat(Math.fround(value))).toBe(value);
  });
});

describe('payloads', () => {
  const payload = (): { [key: string]: Json } => ({ a: { b: 1, c: [{ d: 1, e: 2 }, { d: 3 }] }, 'x.y': 1, z: [1, 2] });
  const paths = (...texts: string[]) => texts.map(parsePath);

  test.each([
    [['a.b'], { a: { b: 1 } }],
    [['a.c[].d', '"x.y"'], { a: { c: [{ d: 1 }, { d: 3 }] }, 'x.y': 1 }],
    [['z'], { z: [1, 2] }],
    [['nothing'], {}],
  ])('show only %j', (include, shown) => {
    expect(selectPayload(payload(), { include: paths(...include) })).toEqual(shown);
  });

  test.each([
    [['a'], { 'x.y': 1, z: [1, 2] }],
    [['a.c[].d', 'z', '"x.y"'], { a: { b: 1, c: [{ e: 2 }, {}] } }],
  ])('show all but %j', (exclude, shown) => {
    expect(selectPayload(payload(), { exclude: paths(...exclude) })).toEqual(shown);
  });

  test('are merged by key, where null takes a key away', () => {
    expect(mergePayload({ a: 1, b: 2 }, { b: null, c: { d: 1 } })).toEqual({ a: 1, c: { d: 1 } });
    expect(mergePayloadAt({ a: 1 }, parsePath('a.b'), { c: 2 })).toEqual({ a: { b: { c: 2 } } });
    expect(mergePayloadAt(payload(), parsePath('a.c[]'), { d: 9 }).a).toEqual({ b: 1, c: [{ d: 9, e: 2 }, { d: 9 }] });
    expect(mergePayloadAt(payload(), parsePath('a.c[1]'), { d: 9 }).a).toEqual({ b: 1, c: [{ d: 1, e: 2 }, { d: 9 }] });
  });

  test('lose what hangs at a path', () => {
    expect(removeFromPayload(payload(), parsePath('a.c[].d')).a).toEqual({ b: 1, c: [{ e: 2 }, {}] });
    expect(removeFromPayload(payload(), parsePath('z[0]')).z).toEqual([2]);
    expect(removeFromPayload(payload(), parsePath('"x.y"'))).not.toHaveProperty(['x.y']);
    expect(removeFromPayload(payload(), parsePath('no.such[].thing'))).toEqual(payload());
  });

  test('may have a key named __proto__, which stays a key', () => {
    const strange = parseJson('{"__proto__":{"polluted":true}}') as { [key: string]: Json };
    const merged = mergePayloadAt(mergePayload({}, strange), parsePath('__proto__'), { more: 1 });
    expect(stringifyJson(merged)).toBe('{"__proto__":{"polluted":true,"more":1}}');
    expect('polluted' in {}).toBe(false);
  });

  test.each([[''], ['.a'], ['a.'], ['a[x]'], ['a b'], ['a"b']])('have no key written as %j', (text) => {
    expect(() => parsePath(text)).toThrow('as a payload key');
  });
});
