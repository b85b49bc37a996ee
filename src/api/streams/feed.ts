import type { Piece } from '../../db/tasks/streams.ts';

/** A part of the text of an attempt; `offset` counts UTF-16 units. */
export interface TextPart {
  attempt: number;
  offset: number;
  text: string;
}

/** One who reads the text of a task, at a pace of its own. */
export interface FeedReader {
  /** The next part of this attempt's text, at most `max` units; nothing where no more is there now. */
  next(attempt: number, max: number): TextPart | undefined;
  /** Whether the whole text of the attempt was taken. */
  isOver(attempt: number): boolean;
  /** Whether it is so far behind that what comes next is not here any more. */
  isBehind(attempt: number): boolean;
  close(): void;
}

/** The text of the present attempt of one task, put together from pieces that may overlap, for all who read it here. */
export interface Feed {
  /** Adds a piece; answers `false` where something before it is missing. */
  take(piece: Piece): boolean;
  join(ring: () => void): FeedReader;
  /** The latest attempt that there is text of; 0 where there is none. */
  newest(): number;
  /** How much there is of the text of an attempt. */
  endOf(attempt: number): number;
  isEmpty(): boolean;
}

interface Text {
  /** Where `text` begins: what all have read is let go once it is long. */
  base: number;
  text: string;
  whole: boolean;
}

interface Reader {
  attempt: number;
  position: number;
  ring: () => void;
}

/** What is kept for those who come late, and what a slow one may hold back, in UTF-16 units. */
const KEEP_UNITS = 256 * 1024;
const MAX_UNITS = 1024 * 1024;

const isHigh = (unit: number) => unit >= 0xd800 && unit <= 0xdbff;

/** Makes an empty one. */
export function createFeed(): Feed {
  const texts = new Map<number, Text>();
  const readers = new Set<Reader>();
  /** Those who read at one pace get the same object, so that it is encoded once for all. */
  let latest: TextPart | undefined;
  const newest = () => Math.max(0, ...texts.keys());
  const endOf = (attempt: number) => {
    const known = texts.get(attempt);
    return known ? known.base + known.text.length : 0;
  };

  function trim(attempt: number, known: Text): void {
    // An earlier attempt is of use until all have read it; of more than one before the last nobody can.
    const slowest = Math.min(attempt, ...[...readers].map((reader) => reader.attempt));
    for (const number of texts.keys()) if (number < slowest || number < attempt - 1) texts.delete(number);
    if (known.text.length <= KEEP_UNITS) return;
    const read = Math.min(...[...readers].map((reader) => (reader.attempt === attempt ? reader.position : 0)));
    const from = Math.max(read, known.base + known.text.length - MAX_UNITS);
    if (from <= known.base) return;
    known.text = known.text.slice(from - known.base);
    known.base = from;
  }

  return {
    take({ attempt, offset, text, last }) {
      let known = texts.get(attempt);
      if (!known) {
        if (attempt < newest()) return true;
        known = { base: 0, text: '', whole: false };
        texts.set(attempt, known);
      }
      const end = endOf(attempt);
      if (offset > end) return false;
      if (offset + text.length > end) known.text += text.slice(end - offset);
      if (last && offset + text.length === endOf(attempt)) known.whole = true;
      trim(attempt, known);
      for (const { ring } of readers) ring();
      return true;
    },
    join(ring) {
      const reader: Reader = { attempt: 0, position: 0, ring };
      readers.add(reader);
      // Who comes late reads from the beginning; the others wait until that has caught up with them.
      for (const known of texts.values()) if (known.base > 0) Object.assign(known, { base: 0, text: '', whole: false });
      const turnTo = (attempt: number) => {
        if (reader.attempt !== attempt) Object.assign(reader, { attempt, position: 0 });
      };
      return {
        next(attempt, max) {
          turnTo(attempt);
          const known = texts.get(attempt);
          const from = reader.position - (known?.base ?? 0);
          if (!known || from < 0 || from >= known.text.length) return undefined;
          let to = Math.min(known.text.length, from + max);
          if (to < known.text.length && to - from > 1 && isHigh(known.text.charCodeAt(to - 1))) to--;
          const offset = reader.position;
          reader.position += to - from;
          if (latest?.attempt === attempt && latest.offset === offset && latest.text.length === to - from)
            return latest;
          latest = { attempt, offset, text: known.text.slice(from, to) };
          return latest;
        },
        isOver(attempt) {
          turnTo(attempt);
          return (texts.get(attempt)?.whole ?? false) && reader.position >= endOf(attempt);
        },
        isBehind: (attempt) => reader.attempt === attempt && reader.position < (texts.get(attempt)?.base ?? 0),
        close: () => void readers.delete(reader),
      };
    },
    newest,
    endOf,
    isEmpty: () => readers.size === 0,
  };
}
