import { Unreadable } from './blocks.ts';

/**
 * The text of bytes: by their byte order mark, else by `charset`, else as UTF-8, and where they are not that as Windows-1252, which is
 * what old texts are in. Line ends become `\n`; control characters, NUL among them, are left out, and lone surrogates become U+FFFD.
 * @throws Unreadable for a charset that is not known, and for what is no text
 */
export function decodeText(bytes: Uint8Array, charset?: string): string {
  return normalize(decode(bytes, charset));
}

/** Brings any text into the form that documents are kept in; doing it again changes nothing. */
export function normalize(text: string): string {
  return (
    text
      .replace(/^\ufeff/, '')
      .replace(/\r\n?|[\u2028\u2029\u0085]/g, '\n')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
      .replace(/[\u0000-\u0008\u000b\u000e-\u001f\u007f]/g, '')
      .replace(/\f/g, '\n')
      .toWellFormed()
  );
}

function decode(bytes: Uint8Array, charset: string | undefined): string {
  const marked = markOf(bytes);
  if (marked) return new TextDecoder(marked).decode(bytes);
  if (charset !== undefined) return decodeAs(charset, bytes);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    if (isBinary(bytes)) throw new Unreadable('The content is not a text.');
    return new TextDecoder('windows-1252').decode(bytes);
  }
}

function markOf(bytes: Uint8Array): string | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return 'utf-16le';
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return 'utf-16be';
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 'utf-8' : undefined;
}

function decodeAs(charset: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    throw new Unreadable(`The charset ${charset.slice(0, 40)} is not known.`);
  }
}

/** Whether bytes hold what no text has; UTF-16 without a byte order mark is such a thing too. */
export function isBinary(bytes: Uint8Array): boolean {
  return !markOf(bytes)?.startsWith('utf-16') && bytes.subarray(0, 65_536).includes(0);
}
