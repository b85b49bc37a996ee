/**
 * The model server as a child process. Its parent forks this file with the options as JSON in the first argument and
 * gets one message: `{ready: true, url}` or `{error}`. It ends with its parent, or on SIGTERM.
 */
import * as v from 'valibot';
import { createLog } from '../../log.ts';
import { messageOf } from './errors.ts';
import { type ModelServer, startModelServer } from './server.ts';

const options = v.object({
  host: v.optional(v.string()),
  port: v.optional(v.number()),
  cacheDir: v.string(),
  modelsDir: v.string(),
  logLevel: v.optional(v.string(), 'info'),
  logFormat: v.optional(v.picklist(['json', 'text'])),
  parallel: v.optional(v.number()),
  threads: v.optional(v.number()),
  hubUrl: v.optional(v.string()),
});

let server: ModelServer | undefined;
let ending = false;

async function end(code: number): Promise<void> {
  if (ending) return;
  ending = true;
  await server?.close().catch(() => undefined);
  process.exit(code);
}

process.on('disconnect', () => void end(0));
process.on('SIGTERM', () => void end(0));
// Ctrl-C reaches the whole group of processes; the parent decides when this one ends.
process.on('SIGINT', () => undefined);

try {
  const { logLevel, logFormat, ...rest } = v.parse(options, JSON.parse(process.argv[2] ?? '{}'));
  server = await startModelServer({ ...rest, log: createLog(logLevel, { name: 'models', format: logFormat }) });
  process.send?.({ ready: true, url: server.url });
} catch (error) {
  const message = { error: messageOf(error) };
  if (process.send) process.send(message, () => void end(1));
  else {
    process.stderr.write(`${message.error}\n`);
    await end(1);
  }
}
