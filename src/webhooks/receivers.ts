/**
 * Shares the places for calls among receivers, so that those that hang do not keep the messages of the others. A receiver is
 * an endpoint, many of which may share a host; for the webhooks of tasks it is a host and port, because whoever gives each task
 * a URL of its own is still one.
 */
export interface Receivers {
  /**
   * Waits for a place to call this URL; whoever gets one calls `leave` when the call is over. A slow receiver that has what
   * it may have is to be asked again after `laterMs`.
   * @param more the id of the endpoint, where it is one, and whether it has failed last, as others have seen
   */
  enter(url: string, more?: { endpoint?: string | null; failing?: boolean }): Promise<Entrance>;
}

export type Entrance = { leave: () => void } | { laterMs: number };

interface Receiver {
  /** How its last call went; of one that was never called nothing is known. */
  pace: 'unknown' | 'quick' | 'slow';
  calls: number;
  waiting: Array<(entrance: Entrance) => void>;
  /** How often a message was sent away since it became slow. */
  sentAway: number;
}

/** A call that has no answer after this long makes its receiver a slow one. */
const SLOW_MS = 3_000;
const LATER_MS = 5_000;
/** Many messages for a slow receiver come again ever later, so that asking for a place costs the same however many there are. */
const LATER_EACH_MS = 100;
const MAX_LATER_MS = 300_000;
const MAX_KNOWN = 10_000;
/** The most calls at a time to one receiver, however many places there are. */
const MAX_EACH = 8;

/**
 * Makes it.
 * @param places how many calls there may be at a time: half of them to one receiver, but at most 8; a quarter to all slow ones
 *   together, three quarters to those and all that have not answered so far; and one to each of these
 */
export function createReceivers(places: number, slowMs = SLOW_MS): Receivers {
  const known = new Map<string, Receiver>();
  const most = Math.max(1, Math.min(MAX_EACH, Math.floor(places / 2)));
  const mostSlow = Math.max(1, Math.floor(places / 4));
  const mostDoubtful = Math.max(1, Math.floor((places * 3) / 4));
  let slowCalls = 0;
  /** Calls of receivers that were slow or unknown when they began. */
  let doubtfulCalls = 0;

  function receiverOf(name: string, failing: boolean): Receiver {
    const pace = failing ? 'slow' : 'unknown';
    const receiver = known.get(name) ?? { pace, calls: 0, waiting: [], sentAway: 0 };
    // The one that was asked for longest ago stands first.
    known.delete(name);
    known.set(name, receiver);
    if (known.size > MAX_KNOWN) forgetOne();
    return receiver;
  }

  function forgetOne(): void {
    for (const [name, { calls }] of known) if (calls === 0) return void known.delete(name);
  }

  function sendAway(receiver: Receiver): Entrance {
    const laterMs = Math.min(MAX_LATER_MS, LATER_MS + LATER_EACH_MS * receiver.sentAway++);
    return { laterMs: Math.round(laterMs * (1 + Math.random() / 2)) };
  }

  function start(receiver: Receiver): Entrance {
    const asSlow = receiver.pace === 'slow';
    const doubtful = receiver.pace !== 'quick';
    if (asSlow) slowCalls++;
    if (doubtful) doubtfulCalls++;
    receiver.calls++;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      receiver.pace = 'slow';
      for (const resolve of receiver.waiting.splice(0)) resolve(sendAway(receiver));
    }, slowMs);
    return {
      leave() {
        clearTimeout(timer);
        receiver.calls--;
        if (asSlow) slowCalls--;
        if (doubtful) doubtfulCalls--;
        if (!late) Object.assign(receiver, { pace: 'quick', sentAway: 0 });
        while (receiver.waiting.length > 0 && receiver.calls < most) receiver.waiting.shift()?.(start(receiver));
      },
    };
  }

  return {
    async enter(url, { endpoint, failing = false } = {}) {
      const receiver = receiverOf(endpoint ?? new URL(url).host, failing);
      const { pace, calls } = receiver;
      if (pace === 'slow') return calls > 0 || slowCalls >= mostSlow ? sendAway(receiver) : start(receiver);
      if (pace === 'unknown' && calls === 0 && doubtfulCalls >= mostDoubtful) return sendAway(receiver);
      if (calls < (pace === 'quick' ? most : 1)) return start(receiver);
      return new Promise((resolve) => receiver.waiting.push(resolve));
    },
  };
}
