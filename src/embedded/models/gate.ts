import { httpError } from './errors.ts';

/** How many requests may wait at once in all gates together; Ollama's OLLAMA_MAX_QUEUE. */
export type Waiting = { count: number; limit: number };

export type Gate = ReturnType<typeof createGate>;

/**
 * Lets `slots` requests through at once and makes the others wait in the order they came.
 * @param waiting shared by all gates of a server
 */
export function createGate(slots: number, waiting: Waiting) {
  const free = Array.from({ length: slots }, (_, slot) => slot);
  const queue: { take: (slot: number) => void }[] = [];

  return {
    /**
     * Resolves with a slot number, to be given back with `leave`.
     * @throws 503 at once when too many wait, 499 when the signal aborts meanwhile
     */
    async enter(signal: AbortSignal): Promise<number> {
      if (signal.aborted) throw canceled();
      const slot = free.shift();
      if (slot !== undefined) return slot;
      if (waiting.count >= waiting.limit) {
        throw httpError(503, 'server busy, please try again.  maximum pending requests exceeded');
      }
      waiting.count++;
      return new Promise<number>((resolve, reject) => {
        const abort = () => {
          queue.splice(queue.indexOf(waiter), 1);
          waiting.count--;
          reject(canceled());
        };
        const waiter = {
          take: (freed: number) => {
            signal.removeEventListener('abort', abort);
            waiting.count--;
            resolve(freed);
          },
        };
        queue.push(waiter);
        signal.addEventListener('abort', abort, { once: true });
      });
    },
    leave(slot: number): void {
      const next = queue.shift();
      if (next) next.take(slot);
      else free.push(slot);
    },
  };
}

/** Ollama's answer to a request whose client has gone. */
export function canceled() {
  return httpError(499, 'request canceled');
}
