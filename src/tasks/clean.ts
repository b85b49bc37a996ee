/** How deep JSON may nest before it is refused. */
export const MAX_JSON_DEPTH = 64;

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
  if (value === null || typeof value !== 'object') return undefined;
  if (depth >= MAX_JSON_DEPTH) return { pointer, detail: `nests deeper than ${MAX_JSON_DEPTH} levels` };
  for (const [key, inner] of Object.entries(value)) {
    const at = `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (!isStorable(key))
      return { pointer: cleanText(at), detail: 'the name holds a NUL character or half of a surrogate pair' };
    const found = findUnstorable(inner, at, depth + 1);
    if (found) return found;
  }
  return undefined;
}
