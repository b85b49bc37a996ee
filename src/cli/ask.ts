import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { UsageError } from '../errors.ts';

const INTERRUPTED = 130;

/** Asks for a line at the terminal. */
export function ask(question: string): Promise<string> {
  return read(question, process.stderr);
}

/** Asks for a line that nobody looking on may read; where stdin is no terminal, takes its first line. */
export async function askHidden(question: string): Promise<string> {
  if (!process.stdin.isTTY) return (await text(process.stdin)).split(/\r?\n/)[0] ?? '';
  // readline switches the echo of the terminal off, and writes what is typed itself: here, to nowhere.
  const answer = await read(question, new Writable({ write: (_, __, done) => done() }));
  process.stderr.write('\n');
  return answer;
}

async function read(question: string, output: NodeJS.WritableStream): Promise<string> {
  if (!process.stdin.isTTY)
    throw new UsageError('There is no terminal to ask at: give --username, and the password on stdin; or --api-key.');
  const lines = createInterface({ input: process.stdin, output, terminal: true });
  const gone = new Promise<never>((_, reject) => {
    lines.once('SIGINT', () => process.exit(INTERRUPTED));
    lines.once('close', () => reject(new UsageError('Nothing was typed.')));
  });
  gone.catch(() => {});
  try {
    // Only now: what is typed as soon as the question stands there is not echoed any more.
    process.stderr.write(question);
    return await Promise.race([lines.question(''), gone]);
  } finally {
    lines.close();
  }
}

/** All of stdin. */
export function readStdin(): Promise<string> {
  return text(process.stdin);
}
