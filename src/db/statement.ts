import { inPart } from '../telemetry/tracing.ts';

/** So many texts of statements are remembered; those with lists in them are never the same. */
const REMEMBERED = 500;
const known = new Map<string, string>();

/** Runs a statement within a span, as a part of what is traced. */
export function inStatement<T>(text: string, work: () => Promise<T>): Promise<T> {
  return inPart(() => {
    const name = summaryOf(text);
    const [operation = '', table] = name.split(' ');
    return {
      name,
      kind: 'client',
      attributes: {
        'db.system.name': 'postgresql',
        'db.operation.name': operation,
        'db.query.summary': name,
        ...(table ? { 'db.collection.name': table } : {}),
      },
    };
  }, work);
}

/** What a statement does, in two words such as `UPDATE tasks`: what it writes first, or else where it reads. Its values are not in it. */
export function summaryOf(text: string): string {
  const found = known.get(text);
  if (found) return found;
  const write =
    /\b(insert)\s+into\s+"?(\w+)|(?<!for\s)(?<!no key\s)\b(update)\s+"?(\w+)|\b(delete)\s+from\s+"?(\w+)/i.exec(text);
  const [operation, table] = write?.slice(1).filter(Boolean) ?? [
    /^\s*(\w+)/.exec(text)?.[1] ?? 'statement',
    /\bfrom\s+"?(\w+)/i.exec(text)?.[1],
  ];
  const verb = (operation as string).toUpperCase();
  const name = [verb === 'WITH' ? 'SELECT' : verb, table].filter(Boolean).join(' ');
  if (known.size >= REMEMBERED) known.clear();
  known.set(text, name);
  return name;
}
