import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createCollection, getCollection } from '../../src/embedded/vectors/collections.ts';
import { openDatabase } from '../../src/embedded/vectors/database.ts';
import {
  type Bounds,
  type Condition,
  type FieldCondition,
  type Filter,
  FilterShape,
  type Match,
} from '../../src/embedded/vectors/filter-shape.ts';
import { isJsonObject, type Json, type JsonObject } from '../../src/embedded/vectors/json.ts';
import type { PayloadPath } from '../../src/embedded/vectors/payload-path.ts';
import { deletePoints, scrollPoints, upsertPoints } from '../../src/embedded/vectors/points.ts';
import { readShape } from '../../src/embedded/vectors/shape-parts.ts';

/** The rules of filters once more, in plain code over plain values: what the SQL must agree with. */
function passes(filter: Filter, payload: Json): boolean {
  const holds = (condition: Condition) => meets(condition, payload);
  const { must, should, must_not, min_should } = filter;
  return (
    (must ?? []).every(holds) &&
    (!should?.length || should.some(holds)) &&
    !(must_not ?? []).some(holds) &&
    (!min_should || min_should.conditions.filter(holds).length >= min_should.min_count)
  );
}

function meets(condition: Condition, payload: Json): boolean {
  if ('key' in condition) return meetsField(condition, valuesAt(condition.key, payload));
  if ('has_id' in condition) throw new Error('ids are not part of this test');
  if ('nested' in condition) {
    const { key, filter } = condition.nested;
    return valuesAt(key.at(-1) === null ? key : [...key, null], payload).some((element) => passes(filter, element));
  }
  if ('is_empty' in condition) return valuesAt(condition.is_empty.key, payload).every(isEmpty);
  if ('is_null' in condition) return valuesAt(condition.is_null.key, payload).includes(null);
  return passes(condition, payload);
}

function meetsField(condition: FieldCondition, values: Json[]): boolean {
  const { match, range, values_count, is_empty, is_null } = condition;
  const someElement = (test: (value: Json) => boolean) =>
    values.some((value) => (Array.isArray(value) ? value.some(test) : test(value)));
  if (match) return someElement((value) => matches(match, value));
  if (range) return someElement((value) => typeof value === 'number' && within(range.bounds, value));
  if (values_count)
    return (values.length === 0 ? [null] : values).some((value) => within(values_count, countOf(value)));
  if (typeof is_empty === 'boolean') {
    return values.length === 0 ? is_empty : values.some((value) => isEmpty(value) === is_empty);
  }
  const hasNull = (value: Json) => value === null || (Array.isArray(value) && value.includes(null));
  return values.length === 0 ? !is_null : values.some((value) => hasNull(value) === is_null);
}

function matches(match: Match, value: Json): boolean {
  if ('value' in match) return value === match.value;
  if ('any' in match) return match.any.some((item) => item === value);
  if ('except' in match) return value !== null && !match.except.some((item) => item === value);
  if (typeof value !== 'string') return false;
  if ('prefix' in match) return value.startsWith(match.prefix);
  return 'text' in match && value.includes(match.text);
}

function valuesAt(path: PayloadPath, value: Json | undefined): Json[] {
  const [step, ...rest] = path;
  if (value === undefined) return [];
  if (step === undefined) return [value];
  if (typeof step === 'string')
    return isJsonObject(value) && Object.hasOwn(value, step) ? valuesAt(rest, value[step]) : [];
  if (!Array.isArray(value)) return [];
  return step === null ? value.flatMap((item) => valuesAt(rest, item)) : valuesAt(rest, value[step]);
}

const isEmpty = (value: Json) => value === null || (Array.isArray(value) && value.length === 0);
const countOf = (value: Json) => (value === null ? 0 : Array.isArray(value) ? value.length : 1);
const within = ({ lt, gt, lte, gte }: Bounds, value: number) =>
  value < (lt ?? Infinity) && value > (gt ?? -Infinity) && value <= (lte ?? Infinity) && value >= (gte ?? -Infinity);

// Few keys and values, so that filters often hit; strings that look like JSON, numbers or the end of a string.
const text = fc.constantFrom('x', 'xy', '1', '', 'q\'"\\n\n', '[1]', '{"a":1}', 'null', 'true', '\u0001');
const integer = fc.constantFrom(0, 1, 2, -3);
const keys = fc.constantFrom('a', 'b', 'c d', 'é');
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.oneof(text, integer, fc.constantFrom(null, true, false, 1.5)),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(keys, tie('value'), { maxKeys: 3 }),
  ),
}));
const payloads = fc.array(fc.dictionary(keys, value as fc.Arbitrary<Json>, { maxKeys: 4 }), {
  minLength: 5,
  maxLength: 20,
});

const segment = fc.constantFrom('a', 'b', '"c d"', 'é');
const step = fc.oneof(
  segment.map((name) => `.${name}`),
  fc.constantFrom('[]', '[0]', '[1]'),
);
const key = fc.tuple(segment, fc.array(step, { maxLength: 3 })).map(([first, rest]) => first + rest.join(''));
const list = fc.oneof(fc.array(text, { maxLength: 3 }), fc.array(integer, { maxLength: 3 }));
const match = fc.oneof(
  fc.record({ value: fc.oneof(text, integer, fc.boolean()) }),
  fc.record({ any: list }),
  fc.record({ except: list }),
  fc.record({ text }),
  fc.record({ prefix: text }),
);
const bounds = fc.record({ lt: integer, gt: integer, lte: integer, gte: integer }, { requiredKeys: [] });
const counts = fc.record({ lt: fc.nat(3), gte: fc.nat(3) }, { requiredKeys: [] });
const { filter } = fc.letrec((tie) => {
  const conditions = (maxLength: number) => fc.array(tie('condition'), { maxLength });
  const min_should = fc.record({ conditions: conditions(3), min_count: fc.nat(2) });
  return {
    condition: fc.oneof(
      { maxDepth: 3 },
      fc.record({ key, match }),
      fc.record({ key, range: bounds }),
      fc.record({ key, values_count: counts }),
      fc.record({ key, is_empty: fc.boolean() }),
      fc.record({ key, is_null: fc.boolean() }),
      fc.record({ is_empty: fc.record({ key }) }),
      fc.record({ is_null: fc.record({ key }) }),
      fc.record({ nested: fc.record({ key, filter: tie('filter') }) }),
      tie('filter'),
    ),
    filter: fc.record(
      { must: conditions(2), should: conditions(3), must_not: conditions(2), min_should },
      { requiredKeys: [] },
    ),
  };
});

test('any filter over any payloads finds what the rules say', { timeout: 60_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'vectors-random-'));
  const db = openDatabase(folder);
  createCollection(db, 'c', { vectors: { size: 1, distance: 'Dot' } });
  const collection = getCollection(db, 'c');
  const check = (stored: JsonObject[], filters: unknown[]) => {
    deletePoints(db, collection, { filter: {} });
    upsertPoints(
      db,
      collection,
      stored.map((payload, id) => ({ id: `0${id.toString(16).padStart(16, '0')}`, vector: [1], payload })),
    );
    for (const given of filters) {
      const read = readShape(FilterShape, given);
      const answer = { with_payload: false, with_vector: false };
      const found = scrollPoints(db, collection, { filter: read, limit: 100 }, answer).points.map((point) => point.id);
      expect(found).toEqual([...stored.keys()].filter((id) => passes(read, stored[id] ?? {})));
    }
  };
  fc.assert(fc.property(payloads, fc.array(filter, { minLength: 5, maxLength: 15 }), check), { numRuns: 100 });
  db.close();
  rmSync(folder, { recursive: true });
});
