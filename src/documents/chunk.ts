import type { Block } from './blocks.ts';
import type { CountTokens } from './tokens.ts';
import { splitUnits, type Unit } from './units.ts';

/** How a text is cut. */
export interface ChunkOptions {
  /** The most tokens of a chunk, its headings included. */
  maxTokens: number;
  /** About so many tokens of the end of a chunk are said again at the beginning of the next, in whole sentences. */
  overlapTokens: number;
}

export interface Chunk {
  /** The headings that it stands under, the outermost first: `Set up > Ports`. */
  heading: string;
  text: string;
  /** How many characters at the beginning of `text` are the end of the chunk before. */
  overlap: number;
  /** Those of the text and of its headings. */
  tokens: number;
}

const BETWEEN = ' > ';

/**
 * Cuts a document into chunks: on the borders of sentences and lines, never across a heading, and code and tables only where
 * they do not fit. The same blocks make the same chunks.
 */
export function chunkBlocks(blocks: readonly Block[], options: ChunkOptions, count: CountTokens): Chunk[] {
  return sectionsOf(blocks).flatMap(({ path, parts }) => {
    const heading = shorten(path.join(BETWEEN), Math.floor(options.maxTokens / 4), count);
    const taken = heading === '' ? 0 : count(`${heading}\n\n`);
    const room = options.maxTokens - taken;
    const countBody: CountTokens = (text) => count(embeddedText({ heading, text })) - taken;
    const units = parts.flatMap((part) => splitUnits(part, room, countBody));
    return pack(units, room, Math.min(options.overlapTokens, Math.floor(room / 2)), countBody).map((chunk) => ({
      ...chunk,
      heading,
      tokens: chunk.tokens + taken,
    }));
  });
}

/** What of a chunk is embedded: its headings say what the text is about. */
export function embeddedText({ heading, text }: Pick<Chunk, 'heading' | 'text'>): string {
  return heading === '' ? text : `${heading}\n\n${text}`;
}

interface Section {
  path: string[];
  parts: Array<{ text: string; kept: boolean }>;
}

/** The texts between two headings, with the path of headings that they stand under. */
function sectionsOf(blocks: readonly Block[]): Section[] {
  const sections: Section[] = [];
  let open: Array<{ level: number; text: string }> = [];
  let section: Section = { path: [], parts: [] };
  let last: { level: number; text: string } | undefined;
  // A heading that nothing stands under would be in no chunk at all.
  const closeHeading = (nextLevel: number) => {
    if (last && section.parts.length === 0 && nextLevel <= last.level && last.text !== '')
      section.parts.push({ text: last.text, kept: false });
    if (section.parts.length > 0) sections.push(section);
  };
  for (const block of blocks) {
    if (block.kind === 'heading') {
      closeHeading(block.level);
      open = [...open.filter(({ level }) => level < block.level), block];
      last = block;
      section = { path: open.map(({ text }) => text).filter((text) => text !== ''), parts: [] };
    } else if (/\S/.test(block.text)) section.parts.push({ text: `${block.text}\n\n`, kept: block.kept ?? false });
  }
  closeHeading(0);
  return sections;
}

/**
 * Fills chunks with units in order. A text has not quite as many tokens as its pieces have together, for where they are joined
 * other words arise: a unit that does not fit for that is left to the next chunk.
 */
function pack(units: Unit[], room: number, overlapTokens: number, count: CountTokens): Array<Omit<Chunk, 'heading'>> {
  const chunks: Array<Omit<Chunk, 'heading'>> = [];
  let repeated: Unit[] = [];
  let own: Unit[] = [];
  let sum = 0;
  const add = (all: number, { tokens }: Unit) => all + tokens;
  const join = (list: Unit[]) => list.map(({ text }) => text).join('');
  const close = () => {
    const left: Unit[] = [];
    let tokens = count(join([...repeated, ...own]));
    while (tokens > room && repeated.length + own.length > 1) {
      if (own.length > 1) left.unshift(own.pop() as Unit);
      else repeated = [];
      tokens = count(join([...repeated, ...own]));
    }
    const before = join(repeated);
    if (/\S/.test(join(own))) chunks.push({ text: before + join(own), overlap: before.length, tokens });
    // Blank ends count too: what is said again stays right before what follows.
    repeated = endOf([...repeated, ...own], overlapTokens);
    own = left;
    sum = [...repeated, ...own].reduce(add, 0);
  };
  for (const unit of units) {
    while (own.length > 0 && sum + unit.tokens > room) close();
    if (sum + unit.tokens > room) {
      repeated = [];
      sum = 0;
    }
    own.push(unit);
    sum += unit.tokens;
  }
  while (own.length > 0) close();
  return chunks;
}

/** The last sentences that together have at most so many tokens; what is not a sentence is not said twice. */
function endOf(units: Unit[], most: number): Unit[] {
  let tokens = 0;
  let from = units.length;
  while (from > 0) {
    const unit = units[from - 1] as Unit;
    tokens += unit.tokens;
    if (!unit.sentence || tokens > most) break;
    from--;
  }
  return units.slice(from);
}

/** The innermost headings that fit; of a single one that does not, its beginning. */
function shorten(path: string, most: number, count: CountTokens): string {
  let rest = path;
  while (count(`${rest}\n\n`) > most) {
    const at = rest.indexOf(BETWEEN);
    if (at >= 0) rest = rest.slice(at + BETWEEN.length);
    else if (rest === '') return '';
    else
      rest = rest
        .slice(0, Math.floor(rest.length / 2))
        .toWellFormed()
        .trim();
  }
  return rest;
}
