/** How a call of a host came to its end: `full` where the host said that it has too much to do. */
export type CallEnding = 'answered' | 'full' | 'other';

/** How many calls a host is given at a time, so that none waits inside it, where nobody's priority counts. */
export interface Slots {
  /** How many calls of the model could begin now. */
  room(model: string): number;
  /** A call begins, free or not; what it answers is to be told of its end, once. */
  begin(model: string): (ending: CallEnding) => void;
  /** Calls under way, of one model or of all. */
  busy(model?: string): number;
  /** How many calls may be under way as things are. */
  limit(): number;
}

/** What a host can do at a time, in Ollama's words: calls of one model, and models in memory. */
export interface SlotBounds {
  parallel: number;
  maxLoaded: number;
}

/**
 * Counts the calls of a host. What it bears at most follows from its bounds; a host that says that it is full, because
 * others use it too, gets half of what it had, and one call more with each round of calls that it answers (additive
 * increase, multiplicative decrease, as TCP does).
 */
export function createSlots({ parallel, maxLoaded }: SlotBounds): Slots {
  const most = parallel * maxLoaded;
  const calls = new Map<string, number>();
  let busy = 0;
  let limit = most;
  /** Counts what begins, so that calls which were under way together cut the limit once. */
  let begun = 0;
  let cutAt = 0;

  return {
    room(model) {
      const own = calls.get(model) ?? 0;
      if (own === 0 && calls.size >= maxLoaded) return 0;
      return Math.max(0, Math.min(Math.floor(limit) - busy, parallel - own));
    },
    begin(model) {
      const number = ++begun;
      busy++;
      calls.set(model, (calls.get(model) ?? 0) + 1);
      let ended = false;
      return (ending) => {
        if (ended) return;
        ended = true;
        busy--;
        const left = (calls.get(model) ?? 1) - 1;
        left === 0 ? calls.delete(model) : calls.set(model, left);
        if (ending === 'answered') limit = Math.min(most, limit + 1 / limit);
        if (ending === 'full' && number > cutAt) {
          limit = Math.max(1, limit / 2);
          cutAt = begun;
        }
      };
    },
    busy: (model) => (model === undefined ? busy : (calls.get(model) ?? 0)),
    limit: () => Math.floor(limit),
  };
}
