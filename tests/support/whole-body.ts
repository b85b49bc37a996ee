import type { IncomingMessage } from 'node:http';

/** The whole body of a request; `undefined` where whoever asked has hung up before its end, and hears no answer. */
export async function wholeBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of request) pieces.push(piece as Buffer);
  } catch {
    return undefined;
  }
  return Buffer.concat(pieces);
}
