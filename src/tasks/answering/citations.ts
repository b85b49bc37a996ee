/** An answer whose citations are all of sources that there are. */
export interface Cited {
  answer: string;
  /** The numbers that it cites, each once, in ascending order. */
  cited: number[];
}

/** Code is left as it is: `list[0]` cites nothing. A fence that is not closed goes to the end. */
const CODE = /(```[\s\S]*?(?:```|$)|`[^`\n]+`)/;
/** `[1]`, `[1, 2]`, `[2-4]`, and what models make of it: `[Source 1]`, `[^1]`, `【1】`. */
const CITATION = /[[【]\s*(?:sources?\s*|\^)?(\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*)\s*[\]】]/gi;

/**
 * Reads the citations of an answer. Those of numbers that are not among 1 to `count` are taken out, with the space before
 * them; the others are written as `[1]` or `[1, 2]`.
 */
export function readCitations(text: string, count: number): Cited {
  const cited = new Set<number>();
  const parts = text.split(CODE).map((part, index) => {
    // What the parentheses of the pattern match stands at the odd places.
    if (index % 2 === 1) return part;
    let read = '';
    let from = 0;
    for (const { 0: all, 1: list = '', index: at } of part.matchAll(CITATION)) {
      const numbers = [...new Set(numbersOf(list, count))];
      for (const number of numbers) cited.add(number);
      const before = part.slice(from, at);
      read += numbers.length > 0 ? `${before}[${numbers.join(', ')}]` : withoutSpaceAtEnd(before);
      from = at + all.length;
    }
    return read + part.slice(from);
  });
  return { answer: parts.join('').trim(), cited: [...cited].sort((a, b) => a - b) };
}

/** As a loop: a pattern for what stands at the end looks from every space on, which a model can write thousands of. */
function withoutSpaceAtEnd(text: string): string {
  let end = text.length;
  while (end > 0 && /[^\S\n]/.test(text.charAt(end - 1))) end--;
  return text.slice(0, end);
}

/** The numbers of a list such as `1, 3-5` that are sources. */
function numbersOf(list: string, count: number): number[] {
  return list.split(/[,;]/).flatMap((item) => {
    const [first = 0, last = first] = item.split(/[–-]/).map(Number);
    // A range that goes nowhere names its two ends.
    if (last < first) return [first, last].filter((number) => exists(number, count));
    const upTo = Math.min(last, count);
    return Array.from({ length: Math.max(0, upTo - first + 1) }, (_, n) => first + n).filter((n) => exists(n, count));
  });
}

function exists(number: number, count: number): boolean {
  return number >= 1 && number <= count;
}
