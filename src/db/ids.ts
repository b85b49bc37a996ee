import { randomUUIDv7 } from 'node:crypto';

/** A new UUIDv7: sorted by time of making, which keeps inserts at the end of the index and pages in order. */
export function newId(): string {
  return randomUUIDv7();
}

/** Whether the text is a UUID, so that a lookup by it cannot make Postgres complain. */
export function isId(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text);
}
