import { readFileSync } from 'node:fs';
import { UsageError } from '../errors.ts';
import { readStdin } from './ask.ts';

/** What an option says that {@link readObject} reads. */
export const OBJECT = 'JSON, the name of a file with it, or `-` for stdin';

/**
 * An object as JSON: as it is, from a file, or from stdin. What stdin or a file holds may be secret, so no error shows it.
 * @param flag what it was given with
 */
export async function readObject(given: string, flag = '--input'): Promise<Record<string, unknown>> {
  if (given === '-') return parseObject(await readStdin(), flag);
  return parseObject(given.trimStart().startsWith('{') ? given : readFile(given, flag), flag);
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

function parseObject(text: string, flag: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UsageError([`${flag} is not JSON`, whatIsWrong(error as Error)].filter(Boolean).join(': '));
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UsageError(`${flag} wants a JSON object, such as {"message": "hi"}.`);
  return value as Record<string, unknown>;
}

/** The message of Node without the piece of the text that it may show. */
function whatIsWrong({ message }: Error): string | undefined {
  return /^Unexpected token|^Unexpected end of JSON input|^[^"]+ \(line \d+ column \d+\)/.exec(message)?.[0];
}
