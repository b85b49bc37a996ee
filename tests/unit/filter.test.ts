import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { scopeFilter } from '../../src/vectors/filter.ts';

const scope = (filter: unknown) => scopeFilter(filter, (id) => [`mapped-${id}`]);
const match = { value: 1 };

describe('a filter of a user', () => {
  it('is moved below the payload, ids are mapped, and nesting is kept', () => {
    const filter = {
      must: [{ key: 'a.b', match }, { has_id: ['x', 7] }],
      should: { key: 'n', range: { gte: 1 } },
      must_not: [{ should: [{ is_empty: { key: 'e' } }, { is_null: { key: 'z' } }] }],
    };
    expect(scope(filter)).toEqual({
      must: [{ key: 'data.a.b', match }, { has_id: ['mapped-x', 'mapped-7'] }],
      should: [{ key: 'data.n', range: { gte: 1 } }],
      must_not: [{ should: [{ is_empty: { key: 'data.e' } }, { is_null: { key: 'data.z' } }] }],
    });
  });

  it.each([
    ['a text', 'tenant'],
    ['a list', []],
    ['nothing', null],
    ['an unknown clause', { min_should: {} }],
    ['an unknown condition', { must: [{ key: 'a', geo_radius: {} }] }],
    ['a condition without a key', { must: [{ match }] }],
    ['a key that is no text', { must: [{ key: ['tenant'], match }] }],
    ['an empty key', { must: [{ key: '', match }] }],
    ['a nested object', { must: [{ nested: { key: 'tenant', filter: {} } }] }],
    ['has_id beside a key', { must: [{ has_id: ['x'], key: 'a', match }] }],
    ['has_id of something else', { must: [{ has_id: [{}] }] }],
    ['has_id without a list', { must: [{ has_id: 'x' }] }],
    ['is_null beside something', { must: [{ is_null: { key: 'a' }, match }] }],
    ['is_empty of a key beside a key', { must: [{ key: 'a', is_empty: { key: 'tenant' } }] }],
    ['is_empty without a key', { must: [{ is_empty: {} }] }],
    ['a condition that is nothing', { must: [null] }],
    ['a clause called __proto__', JSON.parse('{"__proto__": {"must": []}}')],
  ])('is refused when it is %s', (_, filter) => {
    expect(() => scope(filter)).toThrow(expect.objectContaining({ code: 'invalid_input', retryable: false }));
  });

  it('S44: never reaches a field outside of the payload, whatever it is', () => {
    const key = fc.constantFrom('tenant', 'collection', 'id', 'text', 'data.tenant', '');
    const { filter } = fc.letrec((tie) => ({
      condition: fc.oneof(
        fc.record({ key, match: fc.constant(match) }),
        fc.record({ is_empty: fc.record({ key }), key }),
        fc.record({ is_null: fc.record({ key }), must: tie('filter') }),
        fc.record({ has_id: fc.array(fc.string()), key }),
        tie('filter'),
      ),
      filter: fc.dictionary(
        fc.constantFrom('must', 'should', 'must_not', 'key', 'has_id'),
        fc.oneof({ maxDepth: 3 }, fc.array(tie('condition'), { maxLength: 3 }), tie('condition')),
        { maxKeys: 2 },
      ),
    }));
    fc.assert(
      fc.property(filter, (given) => {
        let scoped: unknown;
        try {
          scoped = scope(given);
        } catch {
          return;
        }
        for (const [, found] of JSON.stringify(scoped).matchAll(/"key":"([^"]*)"/g)) expect(found).toMatch(/^data\../);
      }),
    );
  });
});
