import type { Dispatcher } from 'undici';

/** An answer whose body is still coming. */
export interface Exchange {
  status: number;
  header(name: string): string | undefined;
  /** The next part of the body; `undefined` at its end. @throws what broke it off */
  read(): Promise<Buffer | undefined>;
  /** Nobody reads the rest; of no effect once it has come. */
  cancel(): void;
}

interface Asked {
  url: string;
  method?: string;
  headers?: Record<string, string>;
  body?: string | null;
  /** Breaks it off, before the answer or in the middle of it. */
  signal: AbortSignal | undefined;
}

/** So much of a body waits for its reader; the rest stays with the sender. */
const MAX_WAITING_BYTES = 2 ** 20;

/**
 * One request and its answer, for calls that come by the thousand: what `fetch` makes besides costs more than all the rest of such
 * a call. A user and a password in the URL go as Basic auth; nothing is unpacked, and none asked for that would have to be.
 * @throws the reason of the signal, or the error of the connection
 */
export function exchange(
  dispatcher: Dispatcher,
  { url, method = 'GET', body, signal, ...asked }: Asked,
): Promise<Exchange> {
  const { origin, pathname, search, username, password } = new URL(url);
  const headers = { ...asked.headers, 'Accept-Encoding': 'identity', ...basicAuth(username, password) };
  let parts: Buffer[] = [];
  let bytes = 0;
  let over = false;
  let failure: unknown;
  let wake: (() => void) | undefined;

  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    let controller: Dispatcher.DispatchController | undefined;
    let sentOn: unknown[] = [];

    function end(error?: unknown): void {
      if (over) return;
      over = true;
      signal?.removeEventListener('abort', abort);
      failure = error;
      if (error !== undefined) reject(error);
      wake?.();
    }

    function abort(): void {
      parts = [];
      // Where nobody has taken it yet, it is broken off as soon as somebody does.
      controller?.abort(signal?.reason);
      end(signal?.reason);
    }

    async function read(): Promise<Buffer | undefined> {
      if (parts.length === 0 && !over)
        await new Promise<void>((resume) => {
          wake = resume;
        });
      const part = parts.shift();
      if (!part && failure !== undefined) throw failure;
      bytes -= part?.length ?? 0;
      if (controller?.paused && bytes <= MAX_WAITING_BYTES) controller.resume();
      return part;
    }

    signal?.addEventListener('abort', abort, { once: true });
    dispatcher.dispatch(
      { origin, path: pathname + search, method: method as Dispatcher.HttpMethod, headers, body },
      {
        onRequestStart(given, { history }) {
          controller = given;
          sentOn = history ?? [];
          if (over) given.abort(failure as Error);
        },
        onResponseStart(_, status, given) {
          if (status < 200) return;
          const header = (name: string) => {
            const value = given[name];
            return Array.isArray(value) ? value[0] : value;
          };
          const cancel = () => {
            if (!over) controller?.abort(new Error('nobody reads the rest'));
          };
          resolve({ status, header, read, cancel });
        },
        onResponseData(given, part) {
          parts.push(part);
          bytes += part.length;
          if (bytes > MAX_WAITING_BYTES) given.pause();
          wake?.();
        },
        onResponseEnd: () => end(),
        onResponseError: (_, error) => end(sentOn.length > 0 && isRefused(error) ? nowhere(error) : error),
      },
    );
  });
}

/** What is wrong with a place that it was sent on to names that place, which is nobody's business. */
const isRefused = (error: Error) => (error as NodeJS.ErrnoException).code === 'UND_ERR_INVALID_ARG';
const nowhere = (cause: Error) => new Error('it sent the call on to where it cannot go', { cause });

function basicAuth(username: string, password: string): Record<string, string> {
  if (username === '' && password === '') return {};
  const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { Authorization: `Basic ${Buffer.from(login).toString('base64')}` };
}
