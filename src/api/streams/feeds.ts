import { createBatch } from '../../db/batch.ts';
import type { Db } from '../../db/connect.ts';
import type { Notifications } from '../../db/notify.ts';
import {
  askForText,
  LIVE_CHANNEL,
  openStreams,
  type Piece,
  parsePiece,
  sayStillRead,
  type Wanted,
} from '../../db/tasks/streams.ts';
import { repeat } from '../../lifecycle.ts';
import type { Logger } from '../../log.ts';
import type { Waiters } from '../waiters.ts';
import { createFeed, type Feed, type FeedReader } from './feed.ts';

/** The texts that attempts make just now, of the tasks that somebody reads in this process. */
export interface Feeds {
  /** Hears the text of a task from now on; `ring` is called when there is more of it. */
  open(taskId: string, ring: () => void): OpenFeed;
  close(): void;
}

export interface OpenFeed extends FeedReader {
  /** Marks the task as read. Answers the first attempt whose text can be had from here on; nothing where it has ended. */
  begin(): Promise<number | undefined>;
  /** Asks the worker for what is missing, also where the attempt has just ended. */
  ask(attempt: number): void;
}

interface Options {
  db: Db;
  notifications: Notifications;
  waiters: Waiters;
  log: Logger;
}

/** Workers publish for three times as long without hearing of a reader. */
const REPEAT_MS = 10_000;
const ASK_AGAIN_MS = 500;
const MAX_BATCH = 200;

/** Makes it. */
export function createFeeds({ db, notifications, waiters, log }: Options): Feeds {
  const feeds = new Map<string, Feed>();
  const askedAt = new Map<string, number>();

  const begin = createBatch<Wanted, number | undefined>({
    run: async (wanted) => {
      const first = await openStreams(db, [...new Map(wanted.map((one) => [one.id, one])).values()]);
      return wanted.map(({ id }) => first.get(id));
    },
    max: MAX_BATCH,
    parallel: 2,
  });
  const askNow = createBatch<Wanted, undefined>({
    run: async (wanted) => {
      await askForText(db, wanted);
      return [];
    },
    max: MAX_BATCH,
  });
  const onError = (error: unknown) => log.debug({ err: error }, 'workers could not be asked for text');

  function ask(id: string, feed: Feed, attempt = feed.newest()): void {
    askNow({ id, attempt, offset: feed.endOf(attempt) }).catch(onError);
  }

  /** Something is missing: once is enough until there was time to answer. */
  function askForGap(id: string, feed: Feed): void {
    const now = performance.now();
    if (now - (askedAt.get(id) ?? Number.NEGATIVE_INFINITY) < ASK_AGAIN_MS) return;
    askedAt.set(id, now);
    ask(id, feed);
  }

  function take(piece: Piece): void {
    const feed = feeds.get(piece.taskId);
    if (feed && !feed.take(piece)) askForGap(piece.taskId, feed);
  }

  const offChannel = notifications.on(LIVE_CHANNEL, (payload) => {
    // Most of what is said here is for the readers of other processes.
    if (!feeds.has(payload.slice(0, payload.indexOf(' ')))) return;
    const piece = parsePiece(payload);
    if (piece) take(piece);
  });
  const offMissed = waiters.onMissed(() => {
    for (const [id, feed] of feeds) ask(id, feed);
  });
  const stop = repeat(
    REPEAT_MS,
    async () => {
      if (feeds.size > 0) await sayStillRead(db, [...feeds.keys()]);
    },
    onError,
  );

  return {
    open(taskId, ring) {
      const feed = feeds.get(taskId) ?? createFeed();
      feeds.set(taskId, feed);
      const reader = feed.join(ring);
      return {
        ...reader,
        begin: () => begin({ id: taskId, attempt: feed.newest(), offset: feed.endOf(feed.newest()) }),
        ask: (attempt) => ask(taskId, feed, attempt),
        close() {
          reader.close();
          if (!feed.isEmpty() || feeds.get(taskId) !== feed) return;
          feeds.delete(taskId);
          askedAt.delete(taskId);
        },
      };
    },
    close() {
      offChannel();
      offMissed();
      void stop();
    },
  };
}
