import { createRequire } from 'node:module';
import pino, { type DestinationStream, type Logger } from 'pino';
import { traceIds } from './telemetry/tracing.ts';

export type { Logger } from 'pino';

/** How a line is written: for machines, or for people. */
export type LogFormat = 'json' | 'text';

/** What must never reach a log line, wherever it hangs on the logged object, in small letters. */
const SECRET = new Set([
  ...['password', 'passphrase', 'token', 'access_token', 'refresh_token', 'secret', 'secrets', 'credential'],
  ...['authorization', 'cookie', 'set-cookie', 'api_key', 'apikey', 'x-api-key', 'encryption_key'],
]);
/** So many characters are written at once, also within a turn. */
const AT_ONCE = 8_192;
/** What lies deeper is not looked at, and so not written. */
const MAX_DEPTH = 6;

/**
 * Makes the process-wide logger: one line each on stderr, so that stdout stays free for what a command prints. Where traces
 * are made, a line says to which it belongs.
 * @param level a pino level, or `silent`
 * @param format text at a terminal, else JSON, where it is not given
 */
export function createLog(
  level: string,
  { name = 'sutazai', format = process.stderr.isTTY ? 'text' : 'json' }: { name?: string; format?: LogFormat } = {},
): Logger {
  return pino(
    {
      name,
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: serializeError },
      formatters: { level: (label) => ({ level: label }), log: (logged) => clean(logged, 1) as typeof logged },
      mixin: traceIds,
    },
    format === 'text' ? forPeople() : forMachines(),
  );
}

/** Copies only what holds something to leave out: most lines are flat and hold nothing. */
function clean(value: object, depth: number): unknown {
  if (value instanceof Error) return serializeError(value);
  if ('toJSON' in value) return value;
  if (depth > MAX_DEPTH) return '[too deep]';
  let copy: Record<string, unknown> | undefined;
  for (const [key, held] of Object.entries(value)) {
    const kept = SECRET.has(key.toLowerCase())
      ? '[redacted]'
      : typeof held === 'object' && held !== null
        ? clean(held, depth + 1)
        : held;
    if (kept === held) continue;
    copy ??= Array.isArray(value) ? ([...value] as never) : { ...value };
    copy[key] = kept;
  }
  return copy ?? value;
}

let machines: DestinationStream | undefined;

/** Writes together what is logged in one turn of the event loop: a process that serves many requests writes a line for each. */
function forMachines(): DestinationStream {
  if (machines) return machines;
  // What gathers is kept here and not by its `minLength`: its `flushSync` never comes back where nobody reads stderr any more.
  const stderr = pino.destination({ dest: 2, sync: true });
  let lines = '';
  let armed = false;
  const flush = () => {
    armed = false;
    const text = lines;
    lines = '';
    if (text !== '') stderr.write(text);
  };
  process.once('exit', flush);
  machines = {
    write(line) {
      lines += line;
      if (lines.length >= AT_ONCE) return flush();
      if (armed) return;
      armed = true;
      setImmediate(flush);
    },
  };
  return machines;
}

/** Loaded where it is wanted alone: most processes write JSON. */
function forPeople(): DestinationStream {
  const pretty = createRequire(import.meta.url)('pino-pretty') as typeof import('pino-pretty');
  return pretty({
    destination: 2,
    sync: true,
    colorize: process.stderr.isTTY === true,
    ignore: 'pid,hostname,name',
    translateTime: 'SYS:HH:MM:ss.l',
  });
}

/** What may be said of an error: the other fields of a database error hold the row, and with it what users wrote. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message, stack, cause } = error;
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: name,
    message: printable(message),
    code,
    stack: stack && printable(stack),
    ...(cause === undefined ? {} : { cause: serializeError(cause) }),
  };
}

/** Without what would steer a terminal. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '');
}
