import { existsSync } from 'node:fs';
import { startHealthServer } from '../../src/health/server.ts';
import { createLog } from '../../src/log.ts';

// A process with a health port, whose main loop a test blocks by a message, until there is a file: `{ block: path }`.

const stalledMs = Number(process.argv[2]);
const problems: string[] = [];
const server = await startHealthServer({
  host: '127.0.0.1',
  port: 0,
  problems: () => problems,
  answer: async (path) => {
    if (path === '/mine') return { status: 203, type: 'text/plain', body: 'from the main loop' };
    if (path === '/never') return new Promise(() => {});
    if (path === '/broken') throw new Error('broken');
  },
  log: createLog('silent'),
  stalledMs,
});

process.on('message', (message: { block: string } | { problems: string[] }) => {
  if ('problems' in message) {
    problems.splice(0, Number.POSITIVE_INFINITY, ...message.problems);
    return;
  }
  process.send?.('blocking');
  const never = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  while (!existsSync(message.block)) Atomics.wait(never, 0, 0, 20);
  process.send?.('blocked');
});
process.on('disconnect', () => process.exit(0));
process.send?.({ url: server.url });
