import { convert, type FormatCallback, type HtmlToTextOptions } from 'html-to-text';
import type { Block, ReadText } from './blocks.ts';
import { Unreadable, withoutEdges } from './blocks.ts';

// What html-to-text answers is one text. These marks, which no decoded text holds, tell headings and what is kept whole in it.
const HEADING = '\u0001';
const KEPT = '\u0002';
const END = '\u0003';

const heading: FormatCallback = (element, walk, builder) => {
  builder.openBlock({ leadingLineBreaks: 2 });
  builder.addLiteral(`${HEADING}${element.name?.slice(1)}`);
  walk(element.children, builder);
  builder.addLiteral(END);
  builder.closeBlock({ trailingLineBreaks: 2 });
};

const kept =
  (name: 'pre' | 'dataTable'): FormatCallback =>
  (element, walk, builder, options) => {
    builder.openBlock({ leadingLineBreaks: 2 });
    builder.addLiteral(KEPT);
    builder.options.formatters[name]?.(element, walk, builder, options);
    builder.addLiteral(END);
    builder.closeBlock({ trailingLineBreaks: 2 });
  };

const SKIPPED = ['script', 'style', 'noscript', 'template', 'svg', 'iframe', 'nav', '[role=navigation]', 'img', 'head'];

const OPTIONS: HtmlToTextOptions = {
  wordwrap: false,
  formatters: { heading, keptPre: kept('pre'), keptTable: kept('dataTable') },
  limits: { maxInputLength: 64_000_000, maxDepth: 2_000 },
  selectors: [
    ...SKIPPED.map((selector) => ({ selector, format: 'skip' })),
    ...[1, 2, 3, 4, 5, 6].map((level) => ({ selector: `h${level}`, format: 'heading' })),
    { selector: 'a', options: { ignoreHref: true } },
    { selector: 'pre', format: 'keptPre' },
    { selector: 'table', format: 'keptTable', options: { uppercaseHeaderCells: false } },
  ],
};

/** Reads a page, or a part of one: what a visitor reads, without scripts, styles and navigation. */
export function readHtml(source: string): ReadText {
  let text: string;
  try {
    text = convert(source, OPTIONS);
  } catch (error) {
    if (error instanceof RangeError) throw new Unreadable('The page nests too deep.');
    throw error;
  }
  const title = /<title[^>]*>([^<]{0,2000})/i.exec(source)?.[1];
  const blocks = text
    .split(new RegExp(`(${HEADING}[^${END}]*${END}|${KEPT}[^${END}]*${END})`))
    .flatMap((part): Block[] => {
      const inner = part.slice(1, -1);
      if (part.startsWith(HEADING))
        return [{ kind: 'heading', level: Number(inner[0]), text: inner.slice(1).replace(/\s+/g, ' ').trim() }];
      if (part.startsWith(KEPT)) return [{ kind: 'text', text: withoutEdges(inner), kept: true }];
      return part
        .split(/\n{2,}/)
        .map((paragraph) => ({ kind: 'text', text: paragraph.trim() }) as Block)
        .filter((block) => block.text !== '');
    });
  const decoded = title === undefined ? '' : convert(title, { wordwrap: false }).trim();
  return { title: decoded || undefined, blocks };
}
