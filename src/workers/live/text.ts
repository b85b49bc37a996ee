import { TaskError } from '../../errors.ts';
import { cleanText } from '../../tasks/clean.ts';

/** The text that an attempt made so far, cleaned as outputs are. */
export interface AttemptText {
  /** @throws TaskError when it would be more than the limit */
  add(piece: string): void;
  /** Nothing comes after this. */
  end(): void;
  readonly length: number;
  readonly ended: boolean;
  slice(from: number, to: number): string;
}

const isHigh = (unit: number) => unit >= 0xd800 && unit <= 0xdbff;

/** Makes an empty one with room for `maxBytes`, which is about what its output may have. */
export function createAttemptText(maxBytes: number): AttemptText {
  let text = '';
  let bytes = 0;
  /** Half of a surrogate pair, of which the other may come. */
  let half = '';
  let ended = false;

  return {
    add(piece) {
      if (ended) return;
      bytes += Buffer.byteLength(piece);
      if (bytes > maxBytes) throw new TaskError('output_too_large', `The text has more than ${maxBytes} bytes.`);
      const given = half + piece;
      half = isHigh(given.charCodeAt(given.length - 1)) ? given.slice(-1) : '';
      text += cleanText(half ? given.slice(0, -1) : given);
    },
    end() {
      if (ended) return;
      ended = true;
      text += cleanText(half);
    },
    get length() {
      return text.length;
    },
    get ended() {
      return ended;
    },
    slice: (from, to) => text.slice(from, to),
  };
}

/** Where to cut a text so that the part from `from` has at most `max` units and no pair is torn apart. */
export function cutAt(text: Pick<AttemptText, 'length' | 'slice'>, from: number, max: number): number {
  const to = Math.min(text.length, from + max);
  return to < text.length && to - from > 1 && isHigh(text.slice(to - 1, to).charCodeAt(0)) ? to - 1 : to;
}
