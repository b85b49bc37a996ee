import { type ReadText, Unreadable, withoutEdges } from './blocks.ts';
import { decodeText } from './decode.ts';
import { type About, charsetOf, type Kind, kindOf } from './kinds.ts';

/** The most characters that a document may have once it is read: what they need of memory is some times more. */
export const MAX_CHARACTERS = 30_000_000;

/**
 * Reads the text out of a content. It is for contents of anybody's making, so it runs where it can be ended at any time; see
 * `reader.ts`.
 * @throws Unreadable
 */
export async function readDocument(about: About, bytes: Uint8Array): Promise<ReadText & { kind: Kind }> {
  const kind = kindOf(about, bytes);
  const read = { kind, ...(await readAs(kind, about, bytes)) };
  const size = read.blocks.reduce((sum, { text }) => sum + text.length, 0);
  if (size > MAX_CHARACTERS) throw new Unreadable(`The document has more than ${MAX_CHARACTERS} characters.`);
  if (!read.blocks.some(({ text }) => /\S/.test(text))) throw new Unreadable('The document has no text.');
  return read;
}

/** What reads a format is loaded when the first document of that format comes. */
async function readAs(kind: Kind, about: About, bytes: Uint8Array): Promise<ReadText> {
  if (kind === 'pdf') return (await import('./pdf.ts')).readPdf(bytes);
  const text = decodeText(bytes, charsetOf(about, kind, bytes));
  if (kind === 'markdown') return (await import('./markdown.ts')).readMarkdown(text);
  if (kind === 'html') return (await import('./html.ts')).readHtml(text);
  if (kind === 'json') return (await import('./json.ts')).readJson(text);
  const paragraphs = text.split(/\n[ \t]*\n/).filter((paragraph) => /\S/.test(paragraph));
  return { blocks: paragraphs.map((paragraph) => ({ kind: 'text', text: withoutEdges(paragraph) })) };
}
