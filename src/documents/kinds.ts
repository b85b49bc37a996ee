import { Unreadable } from './blocks.ts';
import { isBinary } from './decode.ts';

/** The formats that documents are read from. */
export type Kind = 'text' | 'markdown' | 'html' | 'pdf' | 'json';

/** What is known of a content besides its bytes. */
export interface About {
  /** The header `Content-Type`, or what stood in its place. */
  contentType?: string | null;
  /** The name of a file, or the path of a URL. */
  name?: string | null;
}

const BY_TYPE: Record<string, Kind> = {
  'application/pdf': 'pdf',
  'text/html': 'html',
  'application/xhtml+xml': 'html',
  'text/markdown': 'markdown',
  'text/x-markdown': 'markdown',
  'application/json': 'json',
};

const BY_ENDING: Record<string, Kind> = {
  ...{ pdf: 'pdf', html: 'html', htm: 'html', xhtml: 'html', md: 'markdown', markdown: 'markdown', json: 'json' },
  ...{ txt: 'text', text: 'text', log: 'text', csv: 'text', rst: 'text', adoc: 'text', xml: 'text', yaml: 'text' },
};

export const CONTENT_TYPES: Record<Kind, string> = {
  text: 'text/plain',
  markdown: 'text/markdown',
  html: 'text/html',
  pdf: 'application/pdf',
  json: 'application/json',
};

/** Types that say nothing of what is inside: the name and the content decide. */
const VAGUE = new Set(['', 'application/octet-stream', 'binary/octet-stream', 'text/plain']);

const READABLE = 'text, Markdown, HTML, PDF and JSON can be read';

/**
 * Which format a content is in: what its type says, else the ending of its name, else what it looks like. Of what may be
 * JSON all is parsed, so this is for where a content can do no harm.
 * @throws Unreadable where that is none of ours, or the content is not what its type says
 */
export function kindOf(about: About, bytes: Uint8Array): Kind {
  return knownKind(about, bytes) ?? (isJson(bytes) ? 'json' : 'text');
}

/**
 * The same as far as its first bytes tell; `undefined` where all of it would have to be read.
 * @throws Unreadable as `kindOf` does
 */
export function knownKind({ contentType, name }: About, bytes: Uint8Array): Kind | undefined {
  const type = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  const found = looksLike(bytes);
  if (found !== 'pdf' && found !== undefined && found !== 'html')
    throw new Unreadable(`The content is ${found}; ${READABLE}.`);
  const ending = BY_ENDING[/\.([a-z]+)$/.exec((name ?? '').toLowerCase())?.[1] ?? ''];
  const said = saidBy(type) ?? ending;
  if (found === 'pdf') {
    if (said === 'pdf' || (said === undefined && type !== 'text/plain')) return 'pdf';
    throw new Unreadable(`The content is a PDF, but is said to be ${type || (name ?? '')}.`);
  }
  if (said === 'pdf') throw new Unreadable('The content is said to be a PDF, but does not begin as one.');
  return said ?? (VAGUE.has(type) && type !== 'text/plain' ? found : undefined) ?? plain(bytes, type);
}

function saidBy(type: string): Kind | undefined {
  if (VAGUE.has(type)) return undefined;
  const known = BY_TYPE[type] ?? (/^application\/[\w.-]+\+json$/.test(type) ? 'json' : undefined);
  if (known) return known;
  if (type.startsWith('text/') || type === 'application/xml' || type === 'application/x-ndjson') return 'text';
  throw new Unreadable(`The content type ${type.slice(0, 80)} cannot be read; ${READABLE}.`);
}

/** Whether it can be nothing but text; only what begins as JSON does may be that. */
function plain(bytes: Uint8Array, type: string): 'text' | undefined {
  if (type === 'text/plain') return 'text';
  return /^\s*(?:$|[[{])/.test(new TextDecoder().decode(bytes.subarray(0, 1_024))) ? undefined : 'text';
}

function isJson(bytes: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder().decode(bytes));
    return true;
  } catch {
    return false;
  }
}

/** What the first bytes give away. */
function looksLike(bytes: Uint8Array): 'pdf' | 'html' | string | undefined {
  const start = new TextDecoder('latin1').decode(bytes.subarray(0, 1_024));
  // Readers of PDF take it anywhere in the first kilobyte; before it, no text has come so far.
  if (/^[^\w<{["#]{0,64}%PDF-/.test(start)) return 'pdf';
  if (start.startsWith('PK\u0003\u0004')) return 'an archive, as office documents are';
  if (start.startsWith('\u0089PNG') || start.startsWith('GIF8') || start.startsWith('\u00ff\u00d8\u00ff'))
    return 'an image';
  if (isBinary(bytes)) return 'not a text';
  return /^(?:\ufeff|\u00ef\u00bb\u00bf)?\s*<(?:!doctype\s+html|html)\b/i.test(start) ? 'html' : undefined;
}

/** The charset that a content type, or the beginning of a page, names. */
export function charsetOf({ contentType }: About, kind: Kind, bytes: Uint8Array): string | undefined {
  const named = /;\s*charset\s*=\s*"?([\w.:-]+)/i.exec(contentType ?? '')?.[1];
  if (named !== undefined || kind !== 'html') return named;
  const start = new TextDecoder('latin1').decode(bytes.subarray(0, 2_048));
  return /<meta[^>]+charset\s*=\s*["']?\s*([\w.:-]+)/i.exec(start)?.[1];
}
