import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCollection, getCollection } from '../../src/embedded/vectors/collections.ts';
import { type Database, openDatabase } from '../../src/embedded/vectors/database.ts';
import { FilterShape } from '../../src/embedded/vectors/filter-shape.ts';
import { UpsertPoints } from '../../src/embedded/vectors/point-shape.ts';
import { scrollPoints, upsertPoints } from '../../src/embedded/vectors/points.ts';
import { readShape } from '../../src/embedded/vectors/shape-parts.ts';

const PAYLOADS: Record<number, object> = {
  1: { user: 'ann', n: 1, tags: ['red', 'big'], at: '2026-01-01T00:00:00Z', on: true, deep: { a: { b: 'x' } } },
  2: { user: 'bob', n: 2.5, tags: ['blue'], at: '2026-01-02T00:00:00+02:00', on: false, deep: { a: [{ b: 'x' }] } },
  3: { user: ['ann', 'bob'], n: 3, tags: [], at: 'now', text: 'The quick brown fox', 'a.b': 1 },
  4: { user: null, n: '1', tags: null, at: 2_460_000, rooms: [{ size: 10, colour: 'red' }, { size: 90 }] },
  5: { n: [1, 7], nulls: [1, null], rooms: [{ size: 10 }, { size: 90, colour: 'red' }] },
  6: { n: 9_007_199_254_740_992, user: { ann: 'ann' }, constructor: 'kept', rooms: { size: 90, colour: 'red' } },
};

const key = (name: string, test: object) => ({ key: name, ...test });
const value = (name: string, wanted: unknown) => key(name, { match: { value: wanted } });

const CASES: [what: string, filter: unknown, ids: number[]][] = [
  ['an empty filter', {}, [1, 2, 3, 4, 5, 6]],
  ['empty lists of conditions', { must: [], should: [], must_not: [] }, [1, 2, 3, 4, 5, 6]],
  ['a string, or a list with it, but no member of an object', { must: [value('user', 'ann')] }, [1, 3]],
  ['one condition without a list', { must: value('user', 'bob') }, [2, 3]],
  ['must_not, where a missing field counts as not matching', { must_not: [value('user', 'ann')] }, [2, 4, 5, 6]],
  ['should, which needs one of them', { should: [value('user', 'ann'), value('n', 9_007_199_254_740_992)] }, [1, 3, 6]],
  ['must and must_not together', { must: [value('user', 'ann')], must_not: [value('on', true)] }, [3]],
  ['an integer and not the text of it', { must: [value('n', 1)] }, [1, 5]],
  ['true and not 1', { must: [value('on', true)] }, [1]],
  ['false and not 0', { must: [value('on', false)] }, [2]],
  ['a key named like a method', { must: [value('constructor', 'kept')] }, [6]],
  ['a quoted key with a dot', { must: [value('"a.b"', 1)] }, [3]],
  ['a path into objects', { must: [value('deep.a.b', 'x')] }, [1]],
  ['a path into the elements of a list', { must: [value('deep.a[].b', 'x')] }, [2]],
  ['a path to one element', { must: [value('tags[0]', 'red')] }, [1]],
  ['elements asked for by []', { must: [value('tags[]', 'big')] }, [1]],
  ['any of some strings', { must: [key('user', { match: { any: ['bob', 'eve'] } })] }, [2, 3]],
  ['any of some integers', { must: [key('n', { match: { any: [3, 7] } })] }, [3, 5]],
  ['any of nothing', { must: [key('n', { match: { any: [] } })] }, []],
  ['except, where other types count as different', { must: [key('n', { match: { except: [1] } })] }, [2, 3, 4, 5, 6]],
  ['except, where null and missing never match', { must: [key('user', { match: { except: ['ann'] } })] }, [2, 3, 6]],
  ['a part of a text', { must: [key('text', { match: { text: 'quick b' } })] }, [3]],
  ['a phrase', { must: [key('text', { match: { phrase: 'brown fox' } })] }, [3]],
  ['one word of a few', { must: [key('text', { match: { text_any: 'slow fox' } })] }, [3]],
  ['the start of a text', { must: [key('user', { match: { prefix: 'a' } })] }, [1, 3]],
  ['a range of numbers, never of texts', { must: [key('n', { range: { gte: 1, lt: 3 } })] }, [1, 2, 5]],
  ['a range with one element inside', { must: [key('n', { range: { gt: 3, lte: 7 } })] }, [5]],
  [
    'a range of moments over time zones',
    { must: [key('at', { range: { gte: '2026-01-01', lt: '2026-01-02T00:00Z' } })] },
    [1, 2],
  ],
  ['a moment given with an offset', { must: [key('at', { range: { lte: '2026-01-01 02:00:00+0200' } })] }, [1]],
  ['is_empty: missing, null or an empty list', { must: [{ is_empty: { key: 'tags' } }] }, [3, 4, 5, 6]],
  ['is_null: only a null that is there', { must: [{ is_null: { key: 'user' } }] }, [4]],
  ['is_null inside of a list asks for []', { must: [{ is_null: { key: 'nulls[]' } }] }, [5]],
  ['is_empty on a key', { must: [key('tags', { is_empty: false })] }, [1, 2]],
  ['is_null on a key, where a null in a list counts', { must: [key('nulls', { is_null: true })] }, [5]],
  ['is_null false, where missing counts', { must: [key('user', { is_null: false })] }, [1, 2, 3, 5, 6]],
  [
    'values_count of lists, single values and none',
    { must: [key('user', { values_count: { gte: 1 } })] },
    [1, 2, 3, 6],
  ],
  [
    'values_count where missing and null count as none',
    { must: [key('tags', { values_count: { lt: 1 } })] },
    [3, 4, 5, 6],
  ],
  ['has_id', { must: [{ has_id: [2, 5, 77] }] }, [2, 5]],
  ['no has_id', { must_not: [{ has_id: [2, 5] }] }, [1, 3, 4, 6]],
  [
    'min_should',
    { min_should: { conditions: [value('user', 'ann'), value('user', 'bob'), value('on', true)], min_count: 2 } },
    [1, 3],
  ],
  [
    'a filter inside a filter',
    { must: [{ should: [value('n', 1), { must_not: [{ is_empty: { key: 'tags' } }] }] }] },
    [1, 2, 5],
  ],
  [
    'two conditions on lists, met by different elements',
    { must: [value('rooms[].colour', 'red'), key('rooms[].size', { range: { gt: 50 } })] },
    [4, 5],
  ],
  [
    'nested, where one element must meet both',
    {
      must: [
        { nested: { key: 'rooms', filter: { must: [value('colour', 'red'), key('size', { range: { gt: 50 } })] } } },
      ],
    },
    [5],
  ],
  [
    'nested with must_not',
    { must: [{ nested: { key: 'rooms[]', filter: { must_not: [value('size', 10)] } } }] },
    [4, 5],
  ],
  ['text that looks like SQL', { must: [value('user', "ann' OR '1'='1")] }, []],
  ['a key that looks like SQL', { must: [value(`"x' OR 1=1 --"`, 'ann')] }, []],
];

describe('the filters of the embedded vector store', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vectors-filters-'));
  let db: Database;

  beforeAll(() => {
    db = openDatabase(folder);
    createCollection(db, 'things', { vectors: { size: 1, distance: 'Dot' } });
    const points = Object.entries(PAYLOADS).map(([id, payload]) => ({ id: Number(id), vector: [1], payload }));
    upsertPoints(db, getCollection(db, 'things'), readShape(UpsertPoints, { points }));
  });
  afterAll(() => {
    db.close();
    rmSync(folder, { recursive: true });
  });

  const idsOf = (filter: unknown) => {
    const page = { filter: readShape(FilterShape, filter), limit: 100 };
    const answer = { with_payload: false, with_vector: false };
    return scrollPoints(db, getCollection(db, 'things'), page, answer).points.map((point) => point.id);
  };

  test.each(CASES)('match %s', (_what, filter, ids) => {
    expect(idsOf(filter)).toEqual(ids);
  });

  test.each(CASES)('give the opposite inside must_not: %s', (_what, filter, ids) => {
    expect(idsOf({ must_not: [filter] })).toEqual([1, 2, 3, 4, 5, 6].filter((id) => !ids.includes(id)));
  });

  test.each([
    ['an unknown list of conditions', { musst: [] }, /musst/],
    ['a key without a test', { must: [{ key: 'a' }] }, /exactly one of/],
    ['a key with two tests', { must: [{ key: 'a', match: { value: 1 }, range: { lt: 1 } }] }, /exactly one of/],
    ['a test that is not known', { must: [{ key: 'a', geo_radius: {} }] }, /geo_radius/],
    ['a broken number to match', { must: [value('a', 1.5)] }, /must\.0\.match\.value/],
    ['a list of mixed types', { must: [key('a', { match: { any: ['x', 1] } })] }, /list of strings or of integers/],
    ['no moment', { must: [key('a', { range: { lt: 'yesterday' } })] }, /date and time/],
    ['a broken key', { must: [value('a..b', 1)] }, /Can not parse "a\.\.b" as a payload key/],
    ['an id of no known form', { must: [{ has_id: ['x'] }] }, /unsigned 64-bit integer or a UUID/],
    ['far too many conditions', { must: Array.from({ length: 501 }, () => value('a', 1)) }, /at most 500 conditions/],
  ])('refuse %s', (_what, filter, message) => {
    expect(() => idsOf(filter)).toThrow(message);
  });

  test('carry five hundred conditions', () => {
    expect(idsOf({ must: Array.from({ length: 500 }, () => value('user', 'ann')) })).toEqual([1, 3]);
  });
});
