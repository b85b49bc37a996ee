import type { SQLInputValue } from 'node:sqlite';
import { storeError } from './errors.ts';
import type { Bounds, Condition, FieldCondition, Filter, Match, Range } from './filter-shape.ts';
import { type Json, stringifyJson } from './json.ts';
import { type PayloadPath, toSqlPaths } from './payload-path.ts';

/** Named parameters of a statement; every value of a client goes through here, never into the text. */
export type SqlParams = Record<string, SQLInputValue>;

type Compiler = {
  bind(value: SQLInputValue): string;
  alias(): string;
  count(): void;
};

// Well under SQLite's limit of 1000 for the depth of an expression.
const MAX_CONDITIONS = 500;

/**
 * Writes a filter as an SQL condition over the columns `p.key` and `p.payload` (JSONB), and adds its values to
 * `params`. The text depends on the shape of the filter alone, so that its statement can be kept and used again.
 */
export function filterToSql(filter: Filter, params: SqlParams): string {
  let parameters = 0;
  let aliases = 0;
  let conditions = 0;
  const compiler: Compiler = {
    bind(value) {
      const name = `$f${parameters++}`;
      params[name] = value;
      return name;
    },
    alias: () => `e${aliases++}`,
    count() {
      if (++conditions > MAX_CONDITIONS) {
        throw storeError('badInput', `A filter can have at most ${MAX_CONDITIONS} conditions`);
      }
    },
  };
  return allOf(compiler, filter, '');
}

/** `root` is the SQL of the place that keys are relative to; empty for the payload itself. */
function allOf(c: Compiler, filter: Filter, root: string): string {
  const list = (conditions: Condition[] | null | undefined) =>
    (conditions ?? []).map((condition) => conditionToSql(c, condition, root));
  const parts = list(filter.must);
  const should = list(filter.should);
  if (should.length > 0) parts.push(`(${should.join(' OR ')})`);
  for (const sql of list(filter.must_not)) parts.push(`NOT ${sql}`);
  if (filter.min_should) {
    const sum = list(filter.min_should.conditions).join(' + ') || '0';
    parts.push(`(${sum}) >= ${c.bind(filter.min_should.min_count)}`);
  }
  return parts.length === 0 ? 'TRUE' : parts.join(' AND ');
}

function conditionToSql(c: Compiler, condition: Condition, root: string): string {
  c.count();
  // A missing value makes SQL answer NULL; NOT NULL would be NULL again, so it becomes false right here.
  return `((${bareCondition(c, condition, root)}) IS TRUE)`;
}

function bareCondition(c: Compiler, condition: Condition, root: string): string {
  if ('key' in condition) return fieldToSql(c, condition, root);
  if ('has_id' in condition)
    return `p.key IN (SELECT value FROM json_each(${c.bind(stringifyJson(condition.has_id))}))`;
  if ('nested' in condition) {
    const { key, filter } = condition.nested;
    const elements = key.at(-1) === null ? key : [...key, null];
    return someValue(c, elements, root, (at) => allOf(c, filter, at));
  }
  if ('is_empty' in condition) return `NOT (${someValue(c, condition.is_empty.key, root, isFilled)})`;
  if ('is_null' in condition) {
    return someValue(c, condition.is_null.key, root, (at) => `json_type(p.payload, ${at}) = 'null'`);
  }
  return allOf(c, condition, root);
}

function fieldToSql(c: Compiler, condition: FieldCondition, root: string): string {
  const { key, match, range, values_count: bounds } = condition;
  const some = (test: (at: string) => string) => someValue(c, key, root, test);
  if (match) return some((at) => someElement(c, at, (type, value) => matchToSql(c, match, type, value)));
  if (range) return some((at) => someElement(c, at, (type, value) => rangeToSql(c, range, type, value)));
  const absent = () => `NOT (${some(() => 'TRUE')})`;
  if (bounds) {
    return `${some((at) => within(c, bounds, `(${countAt(at)})`))} OR (${absent()} AND ${within(c, bounds, '0')})`;
  }
  if (condition.is_empty === true) return `${absent()} OR ${some((at) => `NOT (${isFilled(at)})`)}`;
  if (condition.is_empty === false) return some(isFilled);
  if (condition.is_null === true) return some((at) => holdsNull(c, at));
  return `${absent()} OR ${some((at) => `NOT (${holdsNull(c, at)})`)}`;
}

/** True when at least one value hangs at `path` and passes the test, which gets the SQL of the value's place. */
function someValue(c: Compiler, path: PayloadPath, root: string, test: (at: string) => string): string {
  return someOfParts(c, toSqlPaths(path), root, test);
}

function someOfParts(c: Compiler, parts: string[], root: string, test: (at: string) => string): string {
  const [part = '', ...rest] = parts;
  const at = placeAt(c, root, part);
  if (rest.length === 0) return `(json_type(p.payload, ${at}) IS NOT NULL AND (${test(at)}) IS TRUE)`;
  const element = c.alias();
  const inside = someOfParts(c, rest, `${element}.fullkey`, test);
  return (
    `(json_type(p.payload, ${at}) IS 'array' AND ` +
    `EXISTS (SELECT 1 FROM json_each(p.payload, ${at}) AS ${element} WHERE ${inside}))`
  );
}

function placeAt(c: Compiler, root: string, part: string): string {
  if (root === '') return c.bind(`$${part}`);
  return part === '' ? root : `(${root} || ${c.bind(part)})`;
}

/** The value itself, or any element when it is a list. */
function someElement(c: Compiler, at: string, test: (type: string, value: string) => string): string {
  const element = c.alias();
  return (
    `CASE json_type(p.payload, ${at}) WHEN 'array' ` +
    `THEN EXISTS (SELECT 1 FROM json_each(p.payload, ${at}) AS ${element} ` +
    `WHERE ${test(`${element}.type`, `${element}.atom`)}) ` +
    `ELSE ${test(`json_type(p.payload, ${at})`, `(p.payload ->> ${at})`)} END`
  );
}

function isFilled(at: string): string {
  return `CASE json_type(p.payload, ${at}) WHEN 'null' THEN 0 WHEN 'array' THEN json_array_length(p.payload, ${at}) > 0 ELSE 1 END`;
}

function countAt(at: string): string {
  return `CASE json_type(p.payload, ${at}) WHEN 'null' THEN 0 WHEN 'array' THEN json_array_length(p.payload, ${at}) ELSE 1 END`;
}

function holdsNull(c: Compiler, at: string): string {
  return someElement(c, at, (type) => `${type} = 'null'`);
}

function matchToSql(c: Compiler, match: Match, type: string, value: string): string {
  const isText = `${type} = 'text'`;
  if ('value' in match) {
    if (typeof match.value === 'boolean') return `${type} = ${c.bind(String(match.value))}`;
    return `(${type} = '${typeof match.value === 'string' ? 'text' : 'integer'}' AND ${value} = ${c.bind(match.value)})`;
  }
  if ('any' in match) return `(${listType(match.any, type)} AND ${value} IN ${boundList(c, match.any)})`;
  if ('except' in match) {
    const { except } = match;
    return `(${type} <> 'null' AND NOT (${listType(except, type)} AND ${value} IN ${boundList(c, except)}))`;
  }
  if ('prefix' in match) {
    const prefix = c.bind(match.prefix);
    return `(${isText} AND substr(${value}, 1, length(${prefix})) = ${prefix})`;
  }
  if ('text_any' in match) {
    const words = c.bind(stringifyJson(match.text_any.split(/\s+/).filter((word) => word !== '')));
    return `(${isText} AND EXISTS (SELECT 1 FROM json_each(${words}) AS word WHERE instr(${value}, word.value) > 0))`;
  }
  const text = c.bind('text' in match ? match.text : match.phrase);
  return `(${isText} AND instr(${value}, ${text}) > 0)`;
}

function listType(list: Json[], type: string): string {
  return `${type} = '${typeof list[0] === 'string' ? 'text' : 'integer'}'`;
}

function boundList(c: Compiler, list: Json[]): string {
  return `(SELECT value FROM json_each(${c.bind(stringifyJson(list))}))`;
}

function rangeToSql(c: Compiler, range: Range, type: string, value: string): string {
  if (!range.moments) return `(${type} IN ('integer', 'real') AND ${within(c, range.bounds, value)})`;
  // Without the pattern SQLite would also read plain numbers, as days of the Julian calendar, and the word "now".
  const looksRight = `${value} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'`;
  const moment = `CAST(round(unixepoch(${value}, 'subsec') * 1000) AS INTEGER)`;
  return `(${type} = 'text' AND ${looksRight} AND ${within(c, range.bounds, moment)})`;
}

function within(c: Compiler, bounds: Bounds, value: string): string {
  const operators = { lt: '<', gt: '>', lte: '<=', gte: '>=' } as const;
  const parts = Object.entries(operators).flatMap(([name, operator]) => {
    const bound = bounds[name as keyof Bounds];
    return bound === undefined || bound === null ? [] : [`${value} ${operator} ${c.bind(bound)}`];
  });
  return parts.length === 0 ? `${value} IS NOT NULL` : `(${parts.join(' AND ')})`;
}
