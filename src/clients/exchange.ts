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

/**
 * One request and its answer, for calls that come by the thousand: what `fetch` makes besides costs more than all the rest of such
 * a call. @throws the reason of the signal, or the error of the connection
 */
export function exchange(
  dispatcher: Dispatcher,
  { url, method = 'GET', headers, body, signal }: Asked,
): Promise<Exchange> {
  const { origin, pathname, search } = new URL(url);
  const parts: Buffer[] = [];
  let over = false;
  let failure: unknown;
  let wake: (() => void) | undefined;

  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    let controller: Dispatcher.DispatchController | undefined;
    const abort = () => controller?.abort(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });

    function end(error?: unknown): void {
      signal?.removeEventListener('abort', abort);
      over = true;
      failure = signal?.aborted ? signal.reason : error;
      wake?.();
    }

    async function read(): Promise<Buffer | undefined> {
      if (parts.length === 0 && !over)
        await new Promise<void>((resume) => {
          wake = resume;
        });
      const part = parts.shift();
      if (!part && failure !== undefined) throw failure;
      return part;
    }

    dispatcher.dispatch(
      { origin, path: pathname + search, method: method as Dispatcher.HttpMethod, headers, body },
      {
        onRequestStart(given) {
          controller = given;
          if (signal?.aborted) abort();
        },
        onResponseStart(_, status, given) {
          if (status < 200) return;
          const header = (name: string) => {
            const value = given[name];
            return Array.isArray(value) ? value[0] : value;
          };
          resolve({
            status,
            header,
            read,
            cancel() {
              if (!over) controller?.abort(new Error('nobody reads the rest'));
            },
          });
        },
        onResponseData(_, part) {
          parts.push(part);
          wake?.();
        },
        onResponseEnd: () => end(),
        onResponseError(_, error) {
          end(error);
          reject(failure);
        },
      },
    );
  });
}
