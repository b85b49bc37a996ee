import * as v from 'valibot';
import { isJsonObject } from './json.ts';
import { type PayloadPath, parsePath } from './payload-path.ts';
import { PointKey } from './shape-parts.ts';

export type MatchValue = string | number | bigint | boolean;
export type MatchList = (string | number | bigint)[];
export type Match =
  | { value: MatchValue }
  | { any: MatchList }
  | { except: MatchList }
  | { text: string }
  | { phrase: string }
  | { text_any: string }
  | { prefix: string };
/** Bounds of numbers, or of moments in milliseconds since 1970 when `moments` is set. */
export type Range = { moments: boolean; bounds: Bounds };
export type Bounds = { lt?: number | null; gt?: number | null; lte?: number | null; gte?: number | null };

/** A test of the values at one place of a payload; exactly one of the tests is set. */
export type FieldCondition = {
  key: PayloadPath;
  match?: Match | null;
  range?: Range | null;
  values_count?: Bounds | null;
  is_empty?: boolean | null;
  is_null?: boolean | null;
};
export type Condition =
  | FieldCondition
  | { is_empty: { key: PayloadPath } }
  | { is_null: { key: PayloadPath } }
  | { has_id: string[] }
  | { nested: { key: PayloadPath; filter: Filter } }
  | Filter;
export type Filter = {
  must?: Condition[] | null;
  should?: Condition[] | null;
  must_not?: Condition[] | null;
  min_should?: { conditions: Condition[]; min_count: number } | null;
};

const MAX_I64 = 2n ** 63n - 1n;
const Integer = v.pipe(
  v.union([v.pipe(v.number(), v.integer()), v.bigint()], 'expected a string, an integer or a boolean'),
  v.check((value) => BigInt(value) <= MAX_I64 && BigInt(value) >= -MAX_I64 - 1n, 'integer out of range'),
);
const MatchListShape = v.union([v.array(v.string()), v.array(Integer)], 'expected a list of strings or of integers');

/** Reads a key such as `a.b[].c`. */
export const PathShape = v.pipe(v.string(), v.transform(parsePath));

const MATCHES = {
  value: v.strictObject({ value: v.union([v.string(), v.boolean(), Integer]) }),
  any: v.strictObject({ any: MatchListShape }),
  except: v.strictObject({ except: MatchListShape }),
  text: v.strictObject({ text: v.string() }),
  phrase: v.strictObject({ phrase: v.string() }),
  text_any: v.strictObject({ text_any: v.string() }),
  prefix: v.strictObject({ prefix: v.string() }),
};

// The shape is chosen by the key that is there, so that an error speaks of this match and not of all seven.
const MatchShape: v.GenericSchema<unknown, Match> = v.lazy((input) => {
  const name = isJsonObject(input) ? Object.keys(MATCHES).find((key) => key in input) : undefined;
  return MATCHES[(name ?? 'value') as keyof typeof MATCHES] as v.GenericSchema<unknown, Match>;
});

const MOMENT = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?(Z|[+-]\d\d(?::?\d\d)?)?)?$/i;

function readMoment(text: string): number {
  const found = MOMENT.exec(text);
  if (!found) return Number.NaN;
  const [, day, minutes = '00:00', seconds = ':00', zone = 'Z'] = found;
  const offset = zone.length < 4 ? zone : zone.replace(/:?(\d\d)$/, ':$1');
  return Date.parse(`${day}T${minutes}${seconds}${offset.length === 3 ? `${offset}:00` : offset.toUpperCase()}`);
}

const Moment = v.pipe(
  v.string(),
  v.transform(readMoment),
  v.check((moment) => !Number.isNaN(moment), 'expected a date and time such as 2026-01-31T12:00:00Z'),
);
const boundsOf = <T extends v.GenericSchema<unknown, number>>(bound: T) =>
  v.strictObject({ lt: v.nullish(bound), gt: v.nullish(bound), lte: v.nullish(bound), gte: v.nullish(bound) });
const BoundNumber = v.pipe(v.union([v.number(), v.bigint()]), v.transform(Number));
const RangeShape: v.GenericSchema<unknown, Range> = v.lazy((input) => {
  const moments = isJsonObject(input) && Object.values(input).some((bound) => typeof bound === 'string');
  return v.pipe(
    boundsOf(moments ? Moment : BoundNumber),
    v.transform((bounds) => ({ moments, bounds })),
  );
});

const TESTS = ['match', 'range', 'values_count', 'is_empty', 'is_null'] as const;
const FieldShape = v.pipe(
  v.strictObject({
    key: PathShape,
    match: v.nullish(MatchShape),
    range: v.nullish(RangeShape),
    values_count: v.nullish(boundsOf(v.pipe(v.number(), v.integer(), v.minValue(0)))),
    is_empty: v.nullish(v.boolean()),
    is_null: v.nullish(v.boolean()),
  }),
  v.check(
    (condition) => TESTS.filter((test) => condition[test] !== undefined && condition[test] !== null).length === 1,
    `a condition on a key needs exactly one of ${TESTS.join(', ')}`,
  ),
);

const ConditionShape: v.GenericSchema<unknown, Condition> = v.lazy((input) => {
  const keys = isJsonObject(input) ? input : {};
  if ('key' in keys) return FieldShape;
  if ('is_empty' in keys) return v.strictObject({ is_empty: v.strictObject({ key: PathShape }) });
  if ('is_null' in keys) return v.strictObject({ is_null: v.strictObject({ key: PathShape }) });
  if ('has_id' in keys) return v.strictObject({ has_id: v.array(PointKey) });
  if ('nested' in keys) return v.strictObject({ nested: v.strictObject({ key: PathShape, filter: FilterShape }) });
  return FilterShape;
});

// Chosen by hand for the same reason: a union would only say that neither form fits.
const OneOrMany: v.GenericSchema<unknown, Condition[]> = v.lazy((input) =>
  Array.isArray(input)
    ? v.array(ConditionShape)
    : v.pipe(
        ConditionShape,
        v.transform((condition) => [condition]),
      ),
);
const Conditions = v.nullish(OneOrMany);

/**
 * A filter. Unknown keys are refused at every level: a misspelt condition must never match more than was meant.
 */
export const FilterShape: v.GenericSchema<unknown, Filter> = v.strictObject({
  must: Conditions,
  should: Conditions,
  must_not: Conditions,
  min_should: v.nullish(
    v.strictObject({ conditions: v.array(ConditionShape), min_count: v.pipe(v.number(), v.integer(), v.minValue(0)) }),
  ),
});
