import { Agent, type Dispatcher, interceptors } from 'undici';

/** The connections to model hosts. */
export interface Wires {
  calls: Dispatcher;
  /** For pulls, which bear long silences. */
  pulls: Dispatcher;
  cut(): Promise<void>;
}

/** A pull is silent while the host checks what it loaded, which takes minutes for a large model on a slow disk. */
const PULL_STALL_MS = 600_000;
const CONNECT_MS = 5_000;
const MAX_REDIRECTIONS = 5;

/** Makes them; nothing connects before first use. @param stallMs how long a model may say nothing between two pieces */
export function createWires(stallMs: number): Wires {
  // A cold load takes minutes without a word, so only the task's own time-out bounds the wait for the first piece.
  const calls = new Agent({ headersTimeout: 0, bodyTimeout: stallMs, connect: { timeout: CONNECT_MS } });
  const pulls = new Agent({
    headersTimeout: PULL_STALL_MS,
    bodyTimeout: PULL_STALL_MS,
    connect: { timeout: CONNECT_MS },
  });
  // To another host it follows without what the first one was told in confidence.
  const follow = interceptors.redirect({ maxRedirections: MAX_REDIRECTIONS });
  return {
    calls: calls.compose(follow),
    pulls: pulls.compose(follow),
    async cut() {
      await Promise.all([calls.destroy(), pulls.destroy()]);
    },
  };
}
