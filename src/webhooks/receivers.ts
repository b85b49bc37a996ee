/**
 * Shares the places for calls among receivers, so that those that hang do not keep the messages of the others. A receiver is
 * a host and port: whoever gives each task a URL of its own is still one.
 */
export interface Receivers {
  /**
   * Waits for a place to call this URL; whoever gets one calls `leave` when the call is over. A slow receiver that has what
   * it may have is to be asked again after `laterMs`.
   */
  enter(url: string): Promise<Entrance>;
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

/**
 * Makes it.
 * @param places how many calls there may be at a time: half of them to one receiver, a quarter to all slow ones together,
 *   and one to each receiver that is slow or has not answered so far
 */
export function createReceivers(places: number, slowMs = SLOW_MS): Receivers {
  const known = new Map<string, Receiver>();
  const most = Math.max(1, Math.floor(places / 2));
  const mostSlow = Math.max(1, Math.floor(places / 4));
  let slowCalls = 0;

  function receiverOf(url: string): Receiver {
    const { host } = new URL(url);
    const receiver = known.get(host) ?? { pace: 'unknown', calls: 0, waiting: [], sentAway: 0 };
    // The one that was asked for longest ago stands first.
    known.delete(host);
    known.set(host, receiver);
    if (known.size > MAX_KNOWN) forgetOne();
    return receiver;
  }

  function forgetOne(): void {
    for (const [host, { calls }] of known) if (calls === 0) return void known.delete(host);
  }

  function sendAway(receiver: Receiver): Entrance {
    const laterMs = Math.min(MAX_LATER_MS, LATER_MS + LATER_EACH_MS * receiver.sentAway++);
    return { laterMs: Math.round(laterMs * (1 + Math.random() / 2)) };
  }

  function start(receiver: Receiver): Entrance {
    const asSlow = receiver.pace === 'slow';
    if (asSlow) slowCalls++;
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
        if (!late) Object.assign(receiver, { pace: 'quick', sentAway: 0 });
        while (receiver.waiting.length > 0 && receiver.calls < most) receiver.waiting.shift()?.(start(receiver));
      },
    };
  }

  return {
    async enter(url) {
      const receiver = receiverOf(url);
      const { pace, calls } = receiver;
      if (pace === 'slow') return calls > 0 || slowCalls >= mostSlow ? sendAway(receiver) : start(receiver);
      if (calls < (pace === 'quick' ? most : 1)) return start(receiver);
      return new Promise((resolve) => receiver.waiting.push(resolve));
    },
  };
}
