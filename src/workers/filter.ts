import { TaskError } from '../errors.ts';

const CLAUSES = ['must', 'should', 'must_not'] as const;
const CONDITIONS = new Set(['match', 'range', 'values_count', 'is_empty', 'is_null']);

type Mapper = (id: string | number) => string;
type Json = Record<string, unknown>;

/**
 * Turns a user's Qdrant filter into one over what we stored: payload keys lie below `data`, ids are derived. Whatever is
 * not understood is refused, so that no filter reaches fields of ours.
 */
export function scopeFilter(filter: unknown, mapId: Mapper): Json {
  const scoped: Json = {};
  for (const [clause, conditions] of Object.entries(asObject(filter, 'filter'))) {
    if (!(CLAUSES as readonly string[]).includes(clause))
      throw refuse(`unknown clause ${JSON.stringify(clause)}; use ${CLAUSES.join(', ')}`);
    scoped[clause] = [conditions].flat().map((condition) => scopeCondition(condition, mapId));
  }
  return scoped;
}

function scopeCondition(given: unknown, mapId: Mapper): Json {
  const condition = asObject(given, 'condition');
  if (CLAUSES.some((clause) => clause in condition)) return scopeFilter(condition, mapId);
  if (Array.isArray(condition.has_id)) return { has_id: condition.has_id.map((id) => mapId(id as string)) };
  for (const test of ['is_empty', 'is_null'] as const) {
    const inner = condition[test];
    if (inner && typeof inner === 'object') return { [test]: { key: scopeKey((inner as Json).key) } };
  }
  const { key, ...tests } = condition;
  const unknown = Object.keys(tests).find((test) => !CONDITIONS.has(test));
  if (unknown)
    throw refuse(`unknown condition ${JSON.stringify(unknown)}; use ${[...CONDITIONS].join(', ')} or has_id`);
  return { key: scopeKey(key), ...tests };
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
  return new TaskError('invalid_input', `The filter is not one of Qdrant's that is supported here: ${why}.`);
}
