import { randomUUIDv7 } from 'node:crypto';

let lastMs = 0;
let count = 0;

/**
 * A new UUIDv7: sorted by time of making, which keeps inserts at the end of the index and pages in order. Those of one process
 * are in order within a millisecond too (RFC 9562, 6.2, method 1): what was submitted together stands in line as it was given.
 */
export function newId(): string {
  const id = randomUUIDv7();
  const ms = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
  if (ms > lastMs) {
    lastMs = ms;
    // The upper half is left for those that follow.
    count = Number.parseInt(id.slice(15, 18), 16) >> 1;
  } else if (++count > 0xfff) {
    lastMs++;
    count = 0;
  }
  const hex = lastMs.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${count.toString(16).padStart(3, '0')}${id.slice(18)}`;
}

/** The smallest UUIDv7 that could have been made at this time; ids sort by their time. */
export function firstIdAt(time: Date): string {
  const hex = Math.max(0, time.getTime()).toString(16).padStart(12, '0').slice(-12);
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}

/** How far the clock of a process may be from that of the database, where an id stands in for a time. */
export const CLOCKS_DIFFER_MS = 60_000;

export function shift(time: Date, ms: number): Date {
  return new Date(time.getTime() + ms);
}

/** Whether the text is a UUID, so that a lookup by it cannot make Postgres complain. */
export function isId(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text);
}
