/** What a client calls a point: an unsigned 64-bit integer or a lower-case hyphenated UUID. */
export type PointId = number | bigint | string;

const MAX_ID = 2n ** 64n - 1n;
const UUID = /^(?:urn:uuid:)?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})$/i;

/**
 * The text a point is stored under. Its byte order is the order of ids: all numbers by value, then all UUIDs.
 * Answers undefined for anything that is no point id.
 */
export function idToKey(id: unknown): string | undefined {
  if (typeof id === 'number') return Number.isSafeInteger(id) ? idToKey(BigInt(id)) : undefined;
  if (typeof id === 'bigint') return id >= 0n && id <= MAX_ID ? `0${id.toString(16).padStart(16, '0')}` : undefined;
  if (typeof id !== 'string') return undefined;
  const parts = UUID.exec(id);
  return parts ? `1${parts.slice(1).join('').toLowerCase()}` : undefined;
}

/** The id as a client sees it, from the text it is stored under. */
export function keyToId(key: string): PointId {
  const hex = key.slice(1);
  if (key.startsWith('1')) return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  const id = BigInt(`0x${hex}`);
  return id <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(id) : id;
}

/** Reads an id out of a URL, where numbers arrive as text. Answers the stored text or undefined. */
export function idInUrlToKey(text: string): string | undefined {
  return /^\d{1,20}$/.test(text) ? idToKey(BigInt(text)) : idToKey(text);
}
