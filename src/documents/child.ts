import { Worker } from 'node:worker_threads';
import { Unreadable } from './blocks.ts';
import { chunkBlocks } from './chunk.ts';
import { CONTENT_TYPES } from './kinds.ts';
import { readDocument } from './read.ts';
import type { FromChild, ToChild } from './reader.ts';
import { loadTokenCounter } from './tokens.ts';

// The process that reads documents, one at a time. What they do to it, they do to it alone: its parent ends it at any time.

const [megabytes = '1024'] = process.argv.slice(2);
// A loop that is busy with a hostile file looks after nothing any more, so a thread does.
new Worker(new URL('./watch.ts', import.meta.url), { workerData: { megabytes: Number(megabytes) } }).unref();

async function work({ about, bytes, options }: ToChild): Promise<FromChild> {
  try {
    const counting = loadTokenCounter();
    const { kind, title, blocks } = await readDocument(about, bytes);
    const chunks = chunkBlocks(blocks, options, await counting);
    return { is: 'read', contentType: CONTENT_TYPES[kind], title: title ?? null, chunks };
  } catch (error) {
    if (error instanceof Unreadable) return { is: 'unreadable', why: error.message };
    if (error instanceof RangeError) return { is: 'unreadable', why: 'The document nests too deep, or is too large.' };
    return { is: 'failed', why: (error as Error).stack ?? String(error) };
  }
}

process.on('message', (job: ToChild) => void work(job).then((answer) => process.send?.(answer)));
process.on('disconnect', () => process.exit());
void loadTokenCounter();
