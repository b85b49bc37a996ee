import type { Place, Question } from './questions.ts';

/** How deep is looked for the first good place. */
export const DEPTH = 10;
/** So many are given to whoever asks. */
export const SHOWN = 5;

/** What was found, the best first: the page of each chunk, the headings that it stands under, and what it says. */
export type Found = Array<{ page: string; headings: string[]; text: string }>;

export interface Figures {
  /** The part of the questions of which one of the first five chunks is from a place that answers. */
  recall: number;
  /** The mean of one divided by the place of the first such chunk; none among the first ten counts as 0. */
  mrr: number;
}

/** The place of the first chunk that answers, from 1. */
export function rankOf({ places }: Question, found: Found): number | undefined {
  const at = found.slice(0, DEPTH).findIndex((chunk) => places.some((place) => isIn(place, chunk)));
  return at < 0 ? undefined : at + 1;
}

/** A part holds its own parts too; only the beginning of a page, below its title, does not hold the page. */
function isIn({ page, heading }: Place, chunk: Found[number]): boolean {
  // Signs of Markdown in a heading are not in what was read out of it.
  const [title, ...parts] = chunk.headings.map((one) => one.replaceAll('`', ''));
  const wanted = heading.replaceAll('`', '');
  return chunk.page === page && (parts.includes(wanted) || (parts.length === 0 && title === wanted));
}

export function figuresOf(ranks: Array<number | undefined>): Figures {
  const mean = (numbers: number[]) => numbers.reduce((sum, number) => sum + number, 0) / ranks.length;
  return {
    recall: mean(ranks.map((rank) => (rank !== undefined && rank <= SHOWN ? 1 : 0))),
    mrr: mean(ranks.map((rank) => (rank === undefined ? 0 : 1 / rank))),
  };
}
