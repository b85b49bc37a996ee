/** A JSON value. Integers beyond 2^53 are `bigint`, because point ids are unsigned 64-bit numbers. */
export type Json = null | boolean | number | bigint | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

type Reviver = (key: string, value: Json, context: { source?: string }) => Json;

// The lib types know neither the third argument of a reviver nor rawJSON; the runtime has both.
const json = JSON as unknown as {
  parse(text: string, reviver?: Reviver): Json;
  stringify(value: Json, replacer?: (key: string, value: Json) => unknown): string;
  rawJSON(text: string): unknown;
};

/** Same limit as the server this one stands in for; it also keeps SQLite's own limit of 1000 out of reach. */
const MAX_DEPTH = 128;

// A reviver is called for every number of every vector: only pay for it when a long integer is really there.
const LONG_INTEGER = /[[,:\s]-?\d{16,}(?![\d.eE])/;

/** Parses JSON without losing digits of large integers. Throws a SyntaxError on text that is no JSON or too deep. */
export function parseJson(text: string): Json {
  const value = LONG_INTEGER.test(text) ? json.parse(text, keepLargeIntegers) : json.parse(text);
  if (isDeeperThan(value, MAX_DEPTH)) throw new SyntaxError('recursion limit exceeded');
  return value;
}

/** Writes JSON; large integers come out with all their digits. */
export function stringifyJson(value: Json): string {
  try {
    return json.stringify(value);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return json.stringify(value, (_key, item) => (typeof item === 'bigint' ? json.rawJSON(item.toString()) : item));
  }
}

/** Whether a parsed value is a JSON object, so neither a list nor null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The shortest decimal that is the same 32-bit float: 0.1, not 0.10000000149011612. */
export function shortFloat(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return Number(value.toPrecision(9));
}

function keepLargeIntegers(_key: string, value: Json, context: { source?: string }): Json {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || context.source === undefined) return value;
  return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}

function isDeeperThan(value: Json, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (depth === 0) return true;
  const items = Array.isArray(value) ? value : Object.values(value);
  for (const item of items) if (typeof item === 'object' && isDeeperThan(item, depth - 1)) return true;
  return false;
}
