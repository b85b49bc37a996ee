import { MAX_PIECES } from '../vectors/chunks.ts';

/** About a sentence or two: less says too little by itself, and more is found hardly better than the whole chunk. */
const CHARACTERS = 170;

// As for chunks: one language for all.
const sentences = new Intl.Segmenter('en', { granularity: 'sentence' });

/**
 * The parts of a chunk that are found by themselves too, in order and of about the same length, on the borders of sentences and
 * lines. A short chunk is one. The same text always has the same.
 */
export function piecesOf(text: string): string[] {
  const wanted = Math.min(MAX_PIECES, Math.max(1, Math.round(text.trim().length / CHARACTERS)));
  const pieces = new Array<string>(wanted).fill('');
  let at = 0;
  for (const line of text.split(/(?<=\n)/)) {
    for (const { segment } of sentences.segment(line)) {
      const middle = at + segment.length / 2;
      pieces[Math.floor((middle / text.length) * wanted)] += segment;
      at += segment.length;
    }
  }
  const said = pieces.map((piece) => piece.trim()).filter((piece) => /[\p{L}\p{N}]/u.test(piece));
  return said.length > 1 ? said : [text];
}
