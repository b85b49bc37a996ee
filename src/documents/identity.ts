/** `blob` is what browsers call a file without a name; as a name it would let one document replace another. */
const UNNAMED = new Set(['', 'blob']);

/** What a file that was uploaded is called; `null` where it has no name of its own. */
export function nameOf({ filename }: { filename: string }): string | null {
  return UNNAMED.has(filename) ? null : filename;
}

/**
 * By what a document is the same when its content is another.
 * @param source where it came from: the URL, or the name of the file
 */
export function identityOf(source: string | null, { title }: { title?: string }): string | null {
  if (source !== null) return `source:${source}`;
  return title === undefined ? null : `title:${title}`;
}
