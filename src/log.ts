import pino, { type Logger } from 'pino';

export type { Logger } from 'pino';

/** What must never reach a log line, wherever it hangs on the logged object. */
const REDACTED = [
  'password',
  'token',
  'secret',
  'authorization',
  'cookie',
  'access_token',
  'refresh_token',
  '*.password',
  '*.token',
  '*.secret',
  '*.authorization',
  '*.cookie',
  '*.access_token',
  '*.refresh_token',
];

/**
 * Makes the process-wide logger: one JSON object a line on stderr, so that stdout stays free for what a command prints.
 * @param level a pino level, or `silent`
 */
export function createLog(level: string, name = 'sutazai'): Logger {
  return pino(
    {
      name,
      level,
      redact: { paths: REDACTED, censor: '[redacted]' },
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: serializeError },
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}

/** What may be said of an error: the other fields of a database error hold the row, and with it what users wrote. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message, stack, cause } = error;
  const { code } = error as NodeJS.ErrnoException;
  return { type: name, message, code, stack, ...(cause === undefined ? {} : { cause: serializeError(cause) }) };
}
