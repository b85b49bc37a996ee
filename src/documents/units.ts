import type { CountTokens } from './tokens.ts';

/** A piece of text that a chunk takes whole; its units one after the other are the text. */
export interface Unit {
  text: string;
  tokens: number;
  sentence: boolean;
}

// One language for all: what ends a sentence hardly differs, and the language of a machine must not decide on chunks.
const sentences = new Intl.Segmenter('en', { granularity: 'sentence' });

/** More characters than this for each token that fits are too many whatever they are, so they need not be counted. */
const MOST_CHARACTERS = 12;

/** The units of a part of a document, none of which has more than `most` tokens: sentences, or what is kept as a whole where it fits. */
export function splitUnits({ text, kept }: { text: string; kept: boolean }, most: number, count: CountTokens): Unit[] {
  const pieces = kept ? [text] : sentencesOf(text);
  return pieces.flatMap((piece) => {
    const parts = splitLong(piece, most, count);
    return parts.length === 1 && !kept ? [{ ...(parts[0] as Unit), sentence: true }] : parts;
  });
}

/** A line end within a paragraph ends no sentence, so it is a space for whoever looks for the ends. */
function sentencesOf(text: string): string[] {
  const end = text.trimEnd().length;
  const flat = text.slice(0, end).replaceAll('\n', ' ') + text.slice(end);
  return [...sentences.segment(flat)].map(({ index, segment }) => text.slice(index, index + segment.length));
}

/** Halves what is too long, at the end of a line or of a word near the middle, until each piece fits. */
function splitLong(text: string, most: number, count: CountTokens): Unit[] {
  if (text.length <= most * MOST_CHARACTERS) {
    const tokens = count(text);
    if (tokens <= most || text.length <= 1) return [{ text, tokens, sentence: false }];
  }
  const at = middleOf(text);
  return [...splitLong(text.slice(0, at), most, count), ...splitLong(text.slice(at), most, count)];
}

/** Where to cut: behind the line end or else the space that is nearest to the middle, within its two quarters. */
function middleOf(text: string): number {
  const middle = text.length >> 1;
  const reach = text.length >> 2;
  for (const border of ['\n', ' ']) {
    const before = text.lastIndexOf(border, middle - 1);
    const after = text.indexOf(border, middle);
    const near = [before, after].filter((at) => at >= 0 && Math.abs(at - middle) < reach);
    const best = near.sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle))[0];
    if (best !== undefined && best + 1 < text.length) return best + 1;
  }
  // Not between the two halves of a character.
  const low = text.charCodeAt(middle);
  return low >= 0xdc00 && low <= 0xdfff && middle > 1 ? middle - 1 : Math.max(1, middle);
}
