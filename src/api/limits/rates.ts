/** How a subject stands to a limit of requests. */
export interface Standing {
  /** The name of the limit. */
  policy: string;
  allowed: boolean;
  limit: number;
  /** How many more are allowed until the minute is over. */
  remaining: number;
  /** Seconds until then. */
  reset: number;
}

/** Counts the requests of subjects by the minute, in all processes together. */
export interface Rates {
  /** Counts one request, unless there were too many. */
  take(subject: string, limit: number): Standing;
  close(): Promise<void>;
}

/** Adds to what was asked for in a minute (counted since 1970), and answers the sums over all processes, as far as it knows them. */
export type AddRequests = (minute: number, added: ReadonlyMap<string, number>) => Promise<ReadonlyMap<string, number>>;

interface Count {
  /** By all processes, when it was last asked for. */
  known: number;
  /** By this process: being told just now, and not told yet. */
  telling: number;
  untold: number;
}

const MINUTE_MS = 60_000;
/** How long what was counted here stays here. */
const TELL_MS = 200;
const AWAY_MS = 1_000;
/** A process tells of a subject once it has this part of its limit. */
const STEPS = 40;

/**
 * Makes it. A request costs no call: each process counts by itself, tells the others what it has counted five times a second
 * at most, and learns what they have. So a limit may be passed by what the other processes let through in a fifth of a second,
 * and by a fortieth of it for each of them. While the store is away each process counts alone.
 */
export function createRates(
  policy: string,
  add: AddRequests,
  onError: (error: unknown) => void,
  now = () => Date.now(),
): Rates {
  let minute = 0;
  let counts = new Map<string, Count>();
  let due = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let telling: Promise<void> = Promise.resolve();
  let closed = false;

  function arm(ms: number): void {
    timer ??= setTimeout(() => {
      telling = turn();
    }, ms);
  }

  async function turn(): Promise<void> {
    let next = TELL_MS;
    try {
      await tell();
    } catch (error) {
      onError(error);
      next = AWAY_MS;
    }
    timer = undefined;
    if (due.size > 0 && !closed) arm(next);
  }

  async function tell(): Promise<void> {
    const told = new Map<string, number>();
    const ofMinute = counts;
    for (const subject of due) {
      const count = ofMinute.get(subject);
      if (!count) continue;
      told.set(subject, count.untold);
      count.telling = count.untold;
      count.untold = 0;
    }
    const subjects = due;
    due = new Set();
    if (told.size === 0) return;
    let sums: ReadonlyMap<string, number> | undefined;
    try {
      sums = await add(minute, told);
    } finally {
      for (const subject of told.keys()) {
        const count = ofMinute.get(subject) as Count;
        // A store that was emptied does not make us forget what we know.
        if (sums) count.known = Math.max(sums.get(subject) ?? 0, count.known + count.telling);
        else count.untold += count.telling;
        count.telling = 0;
      }
      if (!sums && ofMinute === counts) due = new Set([...subjects, ...due]);
    }
  }

  return {
    take(subject, limit) {
      const at = now();
      const present = Math.floor(at / MINUTE_MS);
      if (present !== minute) {
        minute = present;
        counts = new Map();
        due = new Set();
      }
      let count = counts.get(subject);
      if (!count) {
        count = { known: 0, telling: 0, untold: 0 };
        counts.set(subject, count);
      }
      const before = count.known + count.telling + count.untold;
      const allowed = before < limit;
      if (allowed && ++count.untold >= limit / STEPS) {
        due.add(subject);
        arm(TELL_MS);
      }
      return {
        policy,
        allowed,
        limit,
        remaining: Math.max(0, limit - before - 1),
        reset: secondsLeft(at),
      };
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await telling;
    },
  };
}

/** How many seconds the minute of this time has left. */
export function secondsLeft(at: number): number {
  return Math.ceil((MINUTE_MS - (at % MINUTE_MS)) / 1000);
}

/** The headers that tell a client where it stands (IETF draft-ietf-httpapi-ratelimit-headers). */
export function rateHeaders({ policy, limit, remaining, reset }: Standing): Array<[string, string]> {
  return [
    ['RateLimit-Policy', `"${policy}";q=${limit};w=60`],
    ['RateLimit', `"${policy}";r=${remaining};t=${reset}`],
  ];
}
