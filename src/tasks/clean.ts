/** How deep JSON may nest before it is refused. */
export const MAX_JSON_DEPTH = 64;
/** How many names one object may have before it is refused. */
export const MAX_JSON_NAMES = 10_000;

/** Names that reach behind an object instead of into it, or that validation would leave out without a word. */
const FORBIDDEN_NAMES = new Set(['__proto__', 'constructor', 'prototype']);

/** Whether text holds what Postgres cannot store or other programs choke on: NUL, or half of a surrogate pair. */
export function isStorable(text: string): boolean {
  return !text.includes('\u0000') && text.isWellFormed();
}

/** The same text with NUL taken out and lone surrogates replaced by U+FFFD. */
export function cleanText(text: string): string {
  return isStorable(text) ? text : text.replaceAll('\u0000', '').toWellFormed();
}

/** The same JSON value with every text in it, keys included, cleaned. */
export function cleanJson(value: unknown): unknown {
  if (typeof value === 'string') return cleanText(value);
  if (Array.isArray(value)) return value.map(cleanJson);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [cleanText(key), cleanJson(inner)]));
  }
  return value;
}

/**
 * Looks for what must not be stored in a parsed JSON value.
 * @returns where and what, or `undefined` when all is well
 */
export function findUnstorable(
  value: unknown,
  pointer = '#',
  depth = 0,
): { pointer: string; detail: string } | undefined {
  if (typeof value === 'string') {
    return isStorable(value) ? undefined : { pointer, detail: 'holds a NUL character or half of a surrogate pair' };
  }
  // JSON.parse makes Infinity of 1e400, and JSON.stringify would make null of that.
  if (typeof value === 'number' && !Number.isFinite(value)) return { pointer, detail: 'is too large a number' };
  if (value === null || typeof value !== 'object') return undefined;
  if (depth >= MAX_JSON_DEPTH) return { pointer, detail: `nests deeper than ${MAX_JSON_DEPTH} levels` };
  const entries = Object.entries(value);
  if (!Array.isArray(value) && entries.length > MAX_JSON_NAMES)
    return { pointer, detail: `has more than ${MAX_JSON_NAMES} names` };
  for (const [key, inner] of entries) {
    const at = `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (!isStorable(key))
      return { pointer: cleanText(at), detail: 'the name holds a NUL character or half of a surrogate pair' };
    if (FORBIDDEN_NAMES.has(key)) return { pointer: at, detail: 'is a name that cannot be used' };
    const found = findUnstorable(inner, at, depth + 1);
    if (found) return found;
  }
  return undefined;
}

/** How many names all objects in a parsed JSON value have together, down to the depth that is not refused. */
export function countNames(value: unknown, depth = 0): number {
  if (value === null || typeof value !== 'object') return 0;
  // What is deeper is refused anyway, and must not be walked through.
  if (depth >= MAX_JSON_DEPTH) return Number.POSITIVE_INFINITY;
  const inner = Object.values(value);
  return inner.reduce<number>((sum, one) => sum + countNames(one, depth + 1), Array.isArray(value) ? 0 : inner.length);
}
