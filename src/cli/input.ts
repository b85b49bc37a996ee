import { readFileSync } from 'node:fs';
import { UsageError } from '../errors.ts';
import { readStdin } from './ask.ts';
import { findFault, saidOf } from './json-fault.ts';

/** What an option says that {@link readObject} reads. */
export const OBJECT = 'JSON, the name of a file with it, or `-` for stdin';

/**
 * An object as JSON: as it is, from a file, or from stdin. What stdin or a file holds may be secret, so an error says where it is
 * wrong and does not show it.
 * @param flag what it was given with
 */
export async function readObject(given: string, flag = '--input'): Promise<Record<string, unknown>> {
  if (given === '-') return parseObject(await readStdin(), flag, 'stdin');
  if (given.trimStart().startsWith('{')) return parseObject(given, flag);
  return parseObject(readFile(given, flag), flag, given);
}

function readFile(path: string, flag: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code;
    throw new UsageError(`${flag} wants a JSON object, or a file with one: ${path} cannot be read (${reason}).`, {
      cause: error,
    });
  }
}

/** @param source where it comes from, unless it was typed */
function parseObject(text: string, flag: string, source?: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UsageError(notJson(text, flag, source));
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UsageError(`${flag} wants a JSON object, such as {"message": "hi"}.`);
  return value as Record<string, unknown>;
}

function notJson(text: string, flag: string, source: string | undefined): string {
  const fault = findFault(text);
  if (!fault) return `${flag} is not JSON.`;
  if (source) return `${flag} is not JSON: ${source}, ${saidOf(fault)}.`;
  const quotes = text.includes('"') ? '' : '\nA shell takes double quotes away: put single quotes around the whole.';
  return `${flag} is not JSON: ${saidOf(fault)}.\n${fault.piece}${quotes}`;
}
