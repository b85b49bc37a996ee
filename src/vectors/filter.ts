import { TaskError } from '../errors.ts';

const CLAUSES = ['must', 'should', 'must_not'] as const;
const CONDITIONS = new Set(['match', 'range', 'values_count', 'is_empty', 'is_null']);

/** That a filter is none, or none that is supported. */
export class FilterRefused extends TaskError {}

type Mapper = (id: string | number) => string[];
type Json = Record<string, unknown>;

/**
 * Turns a user's Qdrant filter into one over what we stored: payload keys lie below `data`, ids are derived, one or several of each. Whatever is
 * not understood is refused, so that no filter reaches fields of ours.
 */
export function scopeFilter(filter: unknown, mapIds: Mapper): Json {
  const scoped: Json = {};
  for (const [clause, conditions] of Object.entries(asObject(filter, 'filter'))) {
    if (!(CLAUSES as readonly string[]).includes(clause))
      throw refuse(`unknown clause ${JSON.stringify(clause)}; use ${CLAUSES.join(', ')}`);
    scoped[clause] = [conditions].flat().map((condition) => scopeCondition(condition, mapIds));
  }
  return scoped;
}

function scopeCondition(given: unknown, mapIds: Mapper): Json {
  const condition = asObject(given, 'condition');
  if (CLAUSES.some((clause) => clause in condition)) return scopeFilter(condition, mapIds);
  if ('has_id' in condition) return { has_id: idsOf(alone(condition, 'has_id')).flatMap(mapIds) };
  for (const test of ['is_empty', 'is_null'] as const) {
    if (!('key' in condition) && test in condition)
      return { [test]: { key: scopeKey(alone(asObject(alone(condition, test), test), 'key')) } };
  }
  const { key, ...tests } = condition;
  const unknown = Object.keys(tests).find((test) => !CONDITIONS.has(test));
  if (unknown)
    throw refuse(`unknown condition ${JSON.stringify(unknown)}; use ${[...CONDITIONS].join(', ')} or has_id`);
  // Not even in a place where the store would not take it does a key of ours go there.
  for (const test of ['is_empty', 'is_null'])
    if (typeof (tests[test] ?? true) !== 'boolean') throw refuse(`${test} beside a key must be true or false`);
  return { key: scopeKey(key), ...tests };
}

/** What stands under a name that nothing may stand beside: it would fall away without a word. */
function alone(given: Json, name: string): unknown {
  const other = Object.keys(given).find((key) => key !== name);
  if (other !== undefined) throw refuse(`${JSON.stringify(other)} cannot stand beside ${JSON.stringify(name)}`);
  return given[name];
}

function idsOf(given: unknown): Array<string | number> {
  const isId = (id: unknown) => typeof id === 'string' || typeof id === 'number';
  if (!Array.isArray(given) || !given.every(isId)) throw refuse('has_id must be a list of ids');
  return given as Array<string | number>;
}

function scopeKey(key: unknown): string {
  if (typeof key !== 'string' || key === '') throw refuse('a condition needs a key');
  return `data.${key}`;
}

function asObject(given: unknown, what: string): Json {
  if (given === null || typeof given !== 'object' || Array.isArray(given)) throw refuse(`a ${what} must be an object`);
  return given as Json;
}

function refuse(why: string): TaskError {
  return new FilterRefused('invalid_input', `The filter is not one of Qdrant's that is supported here: ${why}.`);
}
