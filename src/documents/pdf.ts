import { getDocumentProxy } from 'unpdf';
import { type Block, type ReadText, Unreadable } from './blocks.ts';
import { normalize } from './decode.ts';

const MAX_PAGES = 10_000;

/**
 * Reads the text of a PDF page by page; each page is a heading, so that what is found in it can be looked up.
 * @throws Unreadable where it is broken, encrypted, or a scan, which has no text
 */
export async function readPdf(bytes: Uint8Array): Promise<ReadText> {
  const pdf = await open(bytes);
  try {
    if (pdf.numPages > MAX_PAGES) throw new Unreadable(`The PDF has more than ${MAX_PAGES} pages.`);
    const blocks: Block[] = [];
    for (let number = 1; number <= pdf.numPages; number++) {
      const page = await pdf.getPage(number);
      const { items } = await page.getTextContent();
      const text = items.map((item) => ('str' in item ? `${item.str}${item.hasEOL ? '\n' : ''}` : '')).join('');
      page.cleanup();
      const lines = normalize(text).trim();
      if (lines !== '') blocks.push({ kind: 'heading', level: 1, text: `Page ${number}` }, ...paragraphs(lines));
    }
    if (blocks.length === 0)
      throw new Unreadable('The PDF has no text: it is a scan, or a drawing. Run a text recognition over it first.');
    return { title: await titleOf(pdf), blocks };
  } catch (error) {
    throw broken(error);
  } finally {
    await pdf.loadingTask.destroy();
  }
}

type Pdf = Awaited<ReturnType<typeof getDocumentProxy>>;

async function open(bytes: Uint8Array): Promise<Pdf> {
  try {
    // It takes the memory away from whoever gives it, and refuses a Buffer.
    return await getDocumentProxy(new Uint8Array(bytes), { disableFontFace: true, useWasm: false, verbosity: 0 });
  } catch (error) {
    throw broken(error);
  }
}

function broken(error: unknown): unknown {
  if (error instanceof Unreadable) return error;
  const { name } = error as Error;
  if (name === 'PasswordException') return new Unreadable('The PDF is encrypted: save it without a password first.');
  return new Unreadable('The PDF is broken: it cannot be read.');
}

async function titleOf(pdf: Pdf): Promise<string | undefined> {
  const { info } = await pdf.getMetadata();
  const { Title: title } = info as { Title?: unknown };
  return typeof title === 'string' && title.trim() !== '' ? normalize(title).trim() : undefined;
}

function paragraphs(text: string): Block[] {
  return text
    .split(/\n{2,}/)
    .map((paragraph) => ({ kind: 'text', text: paragraph.trim() }) as Block)
    .filter((block) => block.text !== '');
}
