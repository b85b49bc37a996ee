import { storeError } from './errors.ts';

/** Where a value hangs in a payload: a string is a key of an object, a number an index, null means every element. */
export type PayloadPath = readonly (string | number | null)[];

const FIRST = /([\p{L}\p{N}_-]+)|"([^"\\]*)"/uy;
const NEXT = /\.([\p{L}\p{N}_-]+)|\."([^"\\]*)"|\[(\d{1,9})\]|(\[\])/uy;

/** Reads `a.b`, `a[].b`, `a[0].b` and `"a.b".c`. Throws bad input on anything else. */
export function parsePath(text: string): PayloadPath {
  const path: (string | number | null)[] = [];
  let at = 0;
  while (at < text.length || at === 0) {
    const step = at === 0 ? FIRST : NEXT;
    step.lastIndex = at;
    const found = step.exec(text);
    if (!found) throw storeError('badInput', `Can not parse "${text}" as a payload key`);
    const [, bare, quoted, index] = found;
    if (bare !== undefined || quoted !== undefined) path.push(bare ?? quoted ?? '');
    else path.push(index === undefined ? null : Number(index));
    at = step.lastIndex;
  }
  return path;
}

/** The path as SQLite's JSON functions write it, cut where every element of a list is meant. */
export function toSqlPaths(path: PayloadPath): string[] {
  const parts = [''];
  for (const item of path) {
    if (item === null) parts.push('');
    else parts[parts.length - 1] += typeof item === 'number' ? `[${item}]` : `."${item}"`;
  }
  return parts;
}
