/** A piece of text that was found, as far as an answer needs it; the best come first. */
export interface Passage {
  id: string | number;
  document_id: string | null;
  chunk: number | null;
  score: number;
  text: string;
  title?: string;
  heading?: string;
}

/** A passage that the model reads: its text without what the one before it has said already. */
export interface Source extends Passage {
  shown: string;
}

/** So much of a text has to stand in another one for it to say nothing new. */
const SAME = 0.8;
const SHINGLE = 3;
/** Shorter ones are chance. */
const MIN_OVERLAP = 12;
const MAX_OVERLAP = 2_000;

/**
 * The first `limit` passages without those that say what a better one says; of two of which one holds the other, the longer
 * stays, in the better place. Later ones are not looked at: to compare them takes long.
 */
export function distinct<P extends Passage>(passages: readonly P[], limit: number): P[] {
  const kept: Array<{ passage: P; shingles: Set<string> }> = [];
  for (const passage of passages) {
    if (kept.length >= limit) break;
    const shingles = shinglesOf(passage.text);
    const said = kept.some((other) => share(shingles, other.shingles) >= SAME);
    if (said) continue;
    const shorter = kept.findIndex((other) => share(other.shingles, shingles) >= SAME);
    if (shorter >= 0) kept[shorter] = { passage, shingles };
    else kept.push({ passage, shingles });
  }
  return kept.map(({ passage }) => passage);
}

/** Which part of `a` stands in `b` too. */
function share(a: Set<string>, b: Set<string>): number {
  let common = 0;
  for (const shingle of a) if (b.has(shingle)) common++;
  return a.size === 0 ? 1 : common / a.size;
}

function shinglesOf(text: string): Set<string> {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  if (words.length < SHINGLE) return new Set([words.join(' ')]);
  return new Set(words.slice(SHINGLE - 1).map((_, at) => words.slice(at, at + SHINGLE).join(' ')));
}

/**
 * Takes passages, the best first, as long as they fit into `tokens`; a smaller one may still fit where a larger one did not.
 * Of a best one that alone is too long the beginning is taken, so that there is always one.
 * @param cost how many tokens a passage takes, with what stands around it
 */
export function fitInto<P extends Passage>(passages: readonly P[], tokens: number, cost: (passage: P) => number): P[] {
  let left = tokens;
  const fitting = passages.filter((passage) => {
    const wants = cost(passage);
    if (wants > left) return false;
    left -= wants;
    return true;
  });
  const [best] = passages;
  return fitting.length > 0 || !best ? fitting : [shortened(best, tokens, cost)];
}

/** The beginning of a passage, cut between words. */
function shortened<P extends Passage>(passage: P, tokens: number, cost: (passage: P) => number): P {
  const words = passage.text.split(/(?<=\s)/);
  let [least, most] = [1, words.length];
  const cut = (count: number) => ({ ...passage, text: words.slice(0, count).join('').trimEnd() });
  while (least < most) {
    const middle = Math.ceil((least + most) / 2);
    if (cost(cut(middle)) <= tokens) least = middle;
    else most = middle - 1;
  }
  return cut(least);
}

/**
 * Puts neighbours of one document together, in the order of the document, and takes out what the later one repeats of the
 * earlier one. Otherwise the best come first. The place in the answer, from 1, is the number of a source.
 */
export function arrange(passages: readonly Passage[]): Source[] {
  const runs: Passage[][] = [];
  for (const passage of passages) {
    const touching = runs.filter((run) => run.some((other) => areNeighbours(other, passage)));
    const [first, ...others] = touching;
    if (!first) {
      runs.push([passage]);
      continue;
    }
    // It may be the missing one between two.
    first.push(passage, ...others.flat());
    first.sort((a, b) => (a.chunk ?? 0) - (b.chunk ?? 0));
    for (const other of others) runs.splice(runs.indexOf(other), 1);
  }
  return runs.flatMap((run) =>
    run.map((passage, at) => {
      const before = run[at - 1];
      const repeated = before ? overlap(before.text, passage.text) : 0;
      return { ...passage, shown: passage.text.slice(repeated).trimStart() };
    }),
  );
}

function areNeighbours(a: Passage, b: Passage): boolean {
  if (a.document_id === null || a.document_id !== b.document_id || a.chunk === null || b.chunk === null) return false;
  return Math.abs(a.chunk - b.chunk) === 1;
}

/** How much of the beginning of `later` is the end of `earlier`. */
function overlap(earlier: string, later: string): number {
  for (let length = Math.min(earlier.length, later.length - 1, MAX_OVERLAP); length >= MIN_OVERLAP; length--)
    if (earlier.endsWith(later.slice(0, length))) return length;
  return 0;
}
