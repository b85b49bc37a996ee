import * as v from 'valibot';
import { createLog } from '../../log.ts';
import { startVectorStore } from './server.ts';

/**
 * The vector store as a child process. Its parent forks it with the options as JSON in the first argument, hears
 * `{ready: true, url}` or `{error}`, and ends it by disconnecting or with SIGTERM.
 */
const Options = v.object({
  host: v.optional(v.string()),
  port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535))),
  dataDir: v.pipe(v.string(), v.nonEmpty()),
  apiKey: v.optional(v.string()),
  logLevel: v.optional(v.string(), 'info'),
  logFormat: v.optional(v.picklist(['json', 'text'])),
});

type Message = { ready: true; url: string } | { error: string };

// Ctrl-C reaches the whole group of processes: when to stop is the parent's decision.
process.on('SIGINT', () => {});
await main();

async function main(): Promise<void> {
  let stopped = false;
  let close = async () => {};
  const stop = async () => {
    stopped = true;
    await close();
    process.exit(0);
  };
  process.once('SIGTERM', stop);
  process.once('disconnect', stop);
  try {
    const { logLevel, logFormat, ...options } = v.parse(Options, JSON.parse(process.argv[2] ?? ''));
    const store = await startVectorStore({
      ...options,
      log: createLog(logLevel, { name: 'vectors', format: logFormat }),
    });
    close = store.close;
    // Told to stop while it was starting, before there was anything to close.
    if (stopped || !process.send) return await stop();
    await tell({ ready: true, url: store.url });
  } catch (error) {
    await tell({ error: error instanceof Error ? error.message : String(error) });
    process.exit(1);
  }
}

function tell(message: Message): Promise<void> {
  return new Promise((resolve) => {
    if (!process.send || !process.connected) return resolve();
    process.send(message, () => resolve());
  });
}
