import { ProblemError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { metrics } from '../../telemetry/metrics.ts';
import type { Principal } from '../route.ts';

/** Why a stream ends that could go on. */
export type StreamEnd = 'closing' | 'unauthorized';

/** One stream that is open. */
export interface OpenStream {
  /** Aborts when it has to end. */
  signal: AbortSignal;
  /** Why it has to. */
  endReason(): StreamEnd | undefined;
  /** Ends it where the credential that it hangs on is not good any more. */
  check(): Promise<void>;
  /** Tells that something was handed to the reader, or that it took it. */
  handed(waiting: boolean): void;
  leave(): void;
}

/** Whose stream it is. */
export interface StreamOwner {
  principal: Principal;
  /** Whether the credential is still good. */
  stillGood: () => Promise<boolean>;
  /** Breaks the connection off. */
  hangUp: () => void;
}

/** Every stream that this process has open. */
export interface OpenStreams {
  /** @throws ProblemError where there are too many */
  enter(owner: StreamOwner): OpenStream;
  /** Ends all, those that take nothing after a moment by force. */
  close(): Promise<void>;
}

interface Options {
  limits: { perUser: number; all: number };
  /** Hears which session, key or user is not what it was; all where no id is given. */
  onGone: (listener: (id: string | undefined) => void) => () => void;
  log: Logger;
  /** How long a reader may take nothing although there is something for it. */
  patienceMs?: number;
}

const PATIENCE_MS = 30_000;
const CLOSE_MS = 500;

interface Entry extends StreamOwner {
  abort: AbortController;
  reason: StreamEnd | undefined;
  waitingSince: number | undefined;
}

/** Makes it. */
export function createOpenStreams({ limits, onGone, log, patienceMs = PATIENCE_MS }: Options): OpenStreams {
  const open = new Set<Entry>();
  const ofUser = new Map<string, number>();
  let closed = false;

  function end(entry: Entry, reason: StreamEnd): void {
    entry.reason ??= reason;
    entry.abort.abort();
  }

  /** Where nobody can say whether a credential is good, it stays so. */
  async function check(entry: Entry): Promise<void> {
    const good = await entry.stillGood().catch(() => true);
    if (!good) end(entry, 'unauthorized');
  }

  const offGone = onGone((id) => {
    for (const entry of open) {
      const { sessionId, userId } = entry.principal;
      if (id === undefined || id === sessionId || id === userId) void check(entry);
    }
  });
  const looks = setInterval(() => {
    const since = performance.now() - patienceMs;
    for (const entry of open) {
      if ((entry.waitingSince ?? Number.POSITIVE_INFINITY) > since) continue;
      log.info({ user_id: entry.principal.userId }, 'a reader of events takes nothing; it is cut off');
      entry.hangUp();
    }
  }, patienceMs / 6);
  looks.unref();

  function refuseBeyond(userId: string): void {
    const headers = { 'Retry-After': '5' };
    if (closed || (limits.all > 0 && open.size >= limits.all))
      throw new ProblemError(
        'temporary-reduced-capacity',
        'This server has as many event streams open as it may (MAX_STREAMS). Try again shortly, or poll the task.',
        { headers },
      );
    if (limits.perUser > 0 && (ofUser.get(userId) ?? 0) >= limits.perUser)
      throw new ProblemError(
        'quota-exceeded',
        `You have ${limits.perUser} event streams open, which is as many as a user may have. Close one, or poll the task.`,
        { headers, policies: ['open-streams'] },
      );
  }

  return {
    // Not the whole request that `owner` may be: a stream is open for long.
    enter({ principal, stillGood, hangUp }) {
      const { userId } = principal;
      refuseBeyond(userId);
      const entry: Entry = {
        ...{ principal, stillGood, hangUp, abort: new AbortController() },
        ...{ reason: undefined, waitingSince: undefined },
      };
      open.add(entry);
      metrics.eventStreams.set(open.size);
      ofUser.set(userId, (ofUser.get(userId) ?? 0) + 1);
      return {
        signal: entry.abort.signal,
        endReason: () => entry.reason,
        check: () => check(entry),
        handed(waiting) {
          entry.waitingSince = waiting ? performance.now() : undefined;
        },
        leave() {
          entry.abort.abort();
          if (!open.delete(entry)) return;
          metrics.eventStreams.set(open.size);
          const left = (ofUser.get(userId) ?? 0) - 1;
          if (left > 0) ofUser.set(userId, left);
          else ofUser.delete(userId);
        },
      };
    },
    async close() {
      closed = true;
      clearInterval(looks);
      offGone();
      for (const entry of open) end(entry, 'closing');
      const until = performance.now() + CLOSE_MS;
      while (open.size > 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
      for (const entry of open) entry.hangUp();
    },
  };
}
