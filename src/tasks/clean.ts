/** How deep JSON may nest before it is refused. */
export const MAX_JSON_DEPTH = 64;
/** How many names one object may have before it is refused. */
export const MAX_JSON_NAMES = 10_000;

/** The name that reaches behind an object instead of into it. */
const FORBIDDEN_NAME = '__proto__';

/** What was found in a value, and where: a JSON pointer with the leading `#`. */
interface Found {
  pointer: string;
  detail: string;
}

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
 * Looks in a value that a task type answered for what cannot be written as JSON or is not stored: other kinds of values,
 * infinite numbers, too deep a nesting (a cycle too), too many names. Fields that are `undefined` are left out when it is written.
 * @returns where and what, or `undefined` when all is well
 */
export function findNotJson(value: unknown): Found | undefined {
  return fromRoot(notJson(value, 0));
}

function notJson(value: unknown, depth: number): Found | undefined {
  if (typeof value === 'number')
    return Number.isFinite(value) ? undefined : { pointer: '', detail: 'is not a finite number' };
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return undefined;
  if (typeof value !== 'object') return { pointer: '', detail: `is not JSON but of the type ${typeof value}` };
  if (depth >= MAX_JSON_DEPTH) return { pointer: '', detail: `nests deeper than ${MAX_JSON_DEPTH} levels` };
  if (Array.isArray(value)) {
    for (const [index, inner] of value.entries()) {
      const found = notJson(inner, depth + 1);
      if (found) return below(`${index}`, found);
    }
    return undefined;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    return { pointer: '', detail: `is not JSON but a ${value.constructor?.name ?? 'thing of some kind'}` };
  const entries = Object.entries(value);
  if (entries.length > MAX_JSON_NAMES) return { pointer: '', detail: `has more than ${MAX_JSON_NAMES} names` };
  for (const [key, inner] of entries) {
    const found = inner === undefined ? undefined : notJson(inner, depth + 1);
    if (found) return below(key, found);
  }
  return undefined;
}

/**
 * Looks for what must not be stored in a parsed JSON value.
 * @returns where and what, or `undefined` when all is well
 */
export function findUnstorable(value: unknown): Found | undefined {
  return fromRoot(unstorable(value, 0));
}

function unstorable(value: unknown, depth: number): Found | undefined {
  if (typeof value === 'string') {
    return isStorable(value) ? undefined : { pointer: '', detail: 'holds a NUL character or half of a surrogate pair' };
  }
  // JSON.parse makes Infinity of 1e400, and JSON.stringify would make null of that.
  if (typeof value === 'number' && !Number.isFinite(value)) return { pointer: '', detail: 'is too large a number' };
  if (value === null || typeof value !== 'object') return undefined;
  if (depth >= MAX_JSON_DEPTH) return { pointer: '', detail: `nests deeper than ${MAX_JSON_DEPTH} levels` };
  if (Array.isArray(value)) {
    for (const [index, inner] of value.entries()) {
      const found = unstorable(inner, depth + 1);
      if (found) return below(`${index}`, found);
    }
    return undefined;
  }
  const names = Object.keys(value);
  if (names.length > MAX_JSON_NAMES) return { pointer: '', detail: `has more than ${MAX_JSON_NAMES} names` };
  for (const name of names) {
    const found = unusableName(name) ?? unstorable((value as Record<string, unknown>)[name], depth + 1);
    if (found) return below(name, found);
  }
  return undefined;
}

function unusableName(name: string): Found | undefined {
  if (!isStorable(name)) return { pointer: '', detail: 'the name holds a NUL character or half of a surrogate pair' };
  return name === FORBIDDEN_NAME ? { pointer: '', detail: 'is a name that cannot be used' } : undefined;
}

/** Pointers (RFC 6901) are put together on the way back, because nearly always there is nothing to point at. */
function below(name: string, { pointer, detail }: Found): Found {
  return { pointer: `/${cleanText(name).replaceAll('~', '~0').replaceAll('/', '~1')}${pointer}`, detail };
}

function fromRoot(found: Found | undefined): Found | undefined {
  return found && { ...found, pointer: `#${found.pointer}` };
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;
const BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;

/** Whether JSON text nests so deep that it would be refused one level further down; told before it is parsed, which is what costs. */
export function nestsTooDeep(json: string): boolean {
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    switch (json.charCodeAt(at)) {
      case QUOTE:
        for (at++; at < json.length && json.charCodeAt(at) !== QUOTE; at++) if (json.charCodeAt(at) === BACKSLASH) at++;
        break;
      case BRACKET:
      case BRACE:
        if (++depth >= MAX_JSON_DEPTH) return true;
        break;
      case CLOSING_BRACKET:
      case CLOSING_BRACE:
        depth--;
    }
  }
  return false;
}

/** How many names all objects in a parsed JSON value have together, down to the depth that is not refused. */
export function countNames(value: unknown, depth = 0): number {
  if (value === null || typeof value !== 'object') return 0;
  // What is deeper is refused anyway, and must not be walked through.
  if (depth >= MAX_JSON_DEPTH) return Number.POSITIVE_INFINITY;
  const inner = Object.values(value);
  return inner.reduce<number>((sum, one) => sum + countNames(one, depth + 1), Array.isArray(value) ? 0 : inner.length);
}
