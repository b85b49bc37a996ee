import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** One import of a file: what it names, and whether it is gone when the types are. */
export interface Import {
  target: string;
  typeOnly: boolean;
}

/** Paths below a folder of the repository, with `/` between the parts. */
export function filesUnder(folder: string, pattern = /./): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort();
}

export function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** The imports and re-exports of a source text, static and dynamic. */
export function importsOf(source: string): Import[] {
  const statements = source.matchAll(/^(?:import|export)\s+(?:(type\s)?([^'"`;]*?)\s*from\s+)?['"]([^'"]+)['"]/gm);
  const calls = source.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)(\.\w+)?/g);
  return [
    ...[...statements].map(([, type, names, target]) => ({
      target: target as string,
      typeOnly: type !== undefined || isTypesOnly(names ?? ''),
    })),
    // In the place of a type, `import('pg').Pool` is one; awaited, it is a module.
    ...[...calls].map(([, target, member]) => ({ target: target as string, typeOnly: /^\.[A-Z]/.test(member ?? '') })),
  ];
}

/** `{ type A, type B }` leaves nothing behind; `{ type A, b }` does. */
function isTypesOnly(names: string): boolean {
  const listed = /^\{([\s\S]*)\}$/
    .exec(names.trim())?.[1]
    ?.split(',')
    .map((name) => name.trim());
  return listed?.filter(Boolean).every((name) => name.startsWith('type ')) ?? false;
}

/** The names of the fields of all lines that a source text logs, and of its child loggers. */
export function loggedNames(source: string): string[] {
  const calls = source.matchAll(/\blog(?:\.\w+|\[[^\]]+\])\(\s*\{((?:[^{}]|\{[^{}]*\})*)\}/g);
  return [...calls].flatMap(([, fields = '']) =>
    [...fields.matchAll(/(?:^|,)\s*(\w+)\s*(?=[:,]|$)/g)].map(([, name]) => name as string),
  );
}

/** The bodies of the database transactions in a source text. */
export function transactionsOf(source: string): string[] {
  return [...source.matchAll(/\.transaction\(\)\s*\.execute\(/g)].map(({ index, 0: call }) => {
    const start = index + call.length;
    let depth = 1;
    let end = start;
    for (; depth > 0 && end < source.length; end++) depth += source[end] === '(' ? 1 : source[end] === ')' ? -1 : 0;
    return source.slice(start, end - 1);
  });
}
