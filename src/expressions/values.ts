import { ExpressionError } from './error.ts';

/** What an expression gives may have so many values in it. */
const MAX_VALUES = 100_000;
const MAX_DEPTH = 64;

/**
 * A value of an expression as JSON: whole numbers become numbers, times texts.
 * @param pay is called for each value in it
 * @throws ExpressionError for what JSON has no word for, or more of it than anybody wants
 */
export function plainValue(value: unknown, pay: () => void): unknown {
  // A list may be in itself very often, so it is counted as it would be written.
  let left = MAX_VALUES;
  function plain(one: unknown, depth: number): unknown {
    if (--left < 0) throw new ExpressionError(`gives more than ${MAX_VALUES} values`);
    pay();
    if (depth > MAX_DEPTH) throw new ExpressionError(`gives more than ${MAX_DEPTH} levels`);
    if (one === null || typeof one === 'string' || typeof one === 'boolean') return one;
    if (typeof one === 'bigint' || typeof one === 'number') return plainNumber(one);
    if (one instanceof Date && Number.isFinite(one.getTime())) return one.toISOString();
    if (Array.isArray(one)) return one.map((entry) => plain(entry, depth + 1));
    if (typeof one !== 'object') throw new ExpressionError('gives what JSON has no word for');
    if (one instanceof Map) return plainRecord([...one], depth);
    const prototype = Object.getPrototypeOf(one);
    if (prototype !== Object.prototype && prototype !== null)
      throw new ExpressionError(`gives what JSON has no word for`);
    return plainRecord(Object.entries(one), depth);
  }
  function plainRecord(entries: Array<[string, unknown]>, depth: number): unknown {
    return Object.fromEntries(entries.map(([key, entry]) => [key, plain(entry, depth + 1)]));
  }
  return plain(value, 0);
}

function plainNumber(number: bigint | number): number {
  const plain = Number(number);
  if (typeof number === 'bigint' ? !Number.isSafeInteger(plain) : !Number.isFinite(plain))
    throw new ExpressionError('gives a number that JSON cannot hold');
  return plain;
}

/** What was looked through before: much is asked about the same values. */
const known = new WeakMap<object, unknown>();

/**
 * JSON as the library reads it: it takes what is called `constructor` in an object for its kind, but not so in a Map. What has no
 * such name in it is not copied.
 */
export function readable(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const before = known.get(value);
  if (before !== undefined) return before;
  const made = isOdd(value) ? asMaps(value) : value;
  known.set(value, made);
  return made;
}

/** The same of an object that is new each time, while what stands in it is not. */
export function readableParts(value: object): unknown {
  const parts = Object.entries(value).map(([name, part]): [string, unknown] => [name, readable(part)]);
  return Object.hasOwn(value, 'constructor') ? new Map(parts) : Object.fromEntries(parts);
}

function isOdd(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(isOdd);
  if (Object.hasOwn(value, 'constructor')) return true;
  for (const name in value) if (isOdd((value as Record<string, unknown>)[name])) return true;
  return false;
}

function asMaps(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(asMaps);
  return new Map(Object.entries(value).map(([name, part]) => [name, asMaps(part)]));
}

/**
 * What is left of so many characters and values once these are taken; below 0 as soon as they are more. A text that is there often
 * counts each time, as it would be written.
 */
export function takeFrom(left: number, value: unknown): number {
  let rest = left - (typeof value === 'string' ? value.length : 1);
  if (typeof value !== 'object' || value === null) return rest;
  for (const part of Object.values(value)) {
    if (rest < 0) return rest;
    rest = takeFrom(rest, part);
  }
  return rest;
}
