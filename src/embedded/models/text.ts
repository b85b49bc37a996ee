/** Turns tokens into text as they come. `detokenize` gets the new tokens and those before them. */
export type TextStream = {
  /** The text that is certain after one more token; may be empty. */
  push: (token: number) => string;
  /** True once one of the stop texts has appeared; nothing of it and nothing after it is given out. */
  stopped: () => boolean;
  /** What was still held back, when generation ended otherwise. */
  flush: () => string;
};

const REPLACEMENT = '\uFFFD';
/** A character of UTF-8 has at most four bytes, so more tokens than this cannot be one unfinished character. */
const LONGEST_CHARACTER = 4;

/**
 * Holds back bytes that do not make up a character yet, and text that may be the beginning of a stop text.
 * @param before the end of the prompt, which decides whether the first word keeps its leading space
 */
export function createTextStream(options: {
  detokenize: (tokens: number[], before: number[]) => string;
  stops: string[];
  before: number[];
}): TextStream {
  const stops = options.stops.filter((stop) => stop.length > 0);
  let before = options.before.slice(-8);
  let pending: number[] = [];
  let held = '';
  let stopped = false;

  function release(text: string): string {
    held += text;
    const found = stops.map((stop) => held.indexOf(stop)).filter((index) => index >= 0);
    if (found.length > 0) {
      stopped = true;
      const certain = held.slice(0, Math.min(...found));
      held = '';
      return certain;
    }
    const keep = Math.max(0, ...stops.map((stop) => overlap(held, stop)));
    const certain = held.slice(0, held.length - keep);
    held = held.slice(held.length - keep);
    return certain;
  }

  return {
    push(token) {
      if (stopped) return '';
      pending.push(token);
      const text = options.detokenize(pending, before);
      if (text.endsWith(REPLACEMENT) && pending.length < LONGEST_CHARACTER) return '';
      before = [...before, ...pending].slice(-8);
      pending = [];
      return release(text);
    },
    stopped: () => stopped,
    flush() {
      if (stopped) return '';
      const text = pending.length > 0 ? options.detokenize(pending, before) : '';
      pending = [];
      const rest = release(text) + held;
      held = '';
      return rest;
    },
  };
}

/** How many characters at the end of `text` are the beginning of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
