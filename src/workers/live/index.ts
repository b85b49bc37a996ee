import type { Db } from '../../db/connect.ts';
import type { Notifications } from '../../db/notify.ts';
import { MAX_PAYLOAD_BYTES, type Piece, publishPieces } from '../../db/tasks/streams.ts';
import { TASK_CHANNEL } from '../../db/tasks/transition.ts';
import { within } from '../../lifecycle.ts';
import type { Logger } from '../../log.ts';
import type { Attempt } from '../attempt.ts';
import { type AttemptText, createAttemptText, cutAt } from './text.ts';

/** Publishes the text of attempts while they run, of those tasks alone whose events somebody reads. */
export interface LiveTexts {
  /** From now on its text is kept. */
  start(attempt: Attempt): void;
  /** Adds to its text. @throws TaskError when that would be more than an output may have */
  emit(attempt: Attempt, text: string): void;
  /** Says that its text is whole, and waits until that is published where somebody reads it; never for long. */
  end(attempt: Attempt): Promise<void>;
  close(): void;
}

interface Options {
  db: Db;
  notifications: Notifications;
  maxOutputBytes: number;
  log: Logger;
}

interface Kept {
  taskId: string;
  attempt: number;
  text: AttemptText;
  /** How much of it was published, as far as those who read it want no earlier part again. */
  sent: number;
  /** Whether its readers know that nothing comes after. */
  closed: boolean;
}

/** All that comes within this time goes together. */
const EVERY_MS = 100;
/** What one text may add to a statement, so that a long one that is wanted again does not fill the queue of Postgres. */
const MAX_BYTES_A_TURN = 128 * 1024;
/** Readers repeat every ten seconds that they are there. */
const INTEREST_MS = 30_000;
/** The text of an attempt that has ended is kept a little, for whoever missed the last of it. */
const KEEP_MS = 15_000;
const MAX_KEPT_UNITS = 16 * 1024 * 1024;
const END_PATIENCE_MS = 1_000;
const AWAY_MS = 1_000;
/** A UTF-16 unit has at most three bytes in UTF-8. */
const MAX_TEXT_BYTES = MAX_PAYLOAD_BYTES - 80;

/** Makes it. */
export function createLiveTexts({ db, notifications, maxOutputBytes, log }: Options): LiveTexts {
  /** The latest attempt of each task here, also for a moment after its end. */
  const texts = new Map<string, Kept>();
  /** Until when somebody is known to read a task, whether it runs here or not: it may be claimed in the next moment. */
  const readUntil = new Map<string, number>();
  let keptUnits = 0;
  let timer: NodeJS.Timeout | undefined;
  let turn: Promise<boolean> | undefined;
  let closed = false;

  const isRead = (id: string) => (readUntil.get(id) ?? 0) > performance.now();
  const isDue = (kept: Kept) =>
    (kept.sent < kept.text.length || (kept.text.ended && !kept.closed)) && isRead(kept.taskId);

  function wake(ms = EVERY_MS): void {
    if (closed || turn) return;
    timer ??= setTimeout(() => {
      timer = undefined;
      turn = publish().finally(() => {
        turn = undefined;
      });
    }, ms);
  }

  /** Answers whether what is due could be published, as far as it goes together. */
  async function publish(): Promise<boolean> {
    const due = [...texts.values()].filter(isDue);
    if (due.length === 0) return true;
    const before = due.map(({ sent, closed: was }) => ({ sent, closed: was }));
    try {
      const pieces = due.flatMap(takePieces);
      await publishPieces(db, pieces);
    } catch (error) {
      log.debug({ err: error }, 'text could not be published; trying again');
      due.forEach((kept, index) => {
        const { sent, closed: was } = before[index] as (typeof before)[number];
        kept.sent = Math.min(kept.sent, sent);
        kept.closed &&= was;
      });
      setImmediate(wake, AWAY_MS);
      return false;
    }
    // Those too that became due during this turn: whoever woke it then was not heard.
    if ([...texts.values()].some(isDue)) setImmediate(wake);
    return true;
  }

  function hear(id: string): void {
    readUntil.set(id, performance.now() + INTEREST_MS);
    const kept = texts.get(id);
    if (kept && isDue(kept)) wake();
  }

  function want(id: string, attempt: number, offset: number): void {
    const kept = texts.get(id);
    if (kept) {
      kept.sent = attempt < kept.attempt ? 0 : Math.min(kept.sent, offset);
      // Who has all of it still wants to know that it is all.
      kept.closed = false;
    }
    hear(id);
  }

  const stopListening = notifications.on(TASK_CHANNEL, (payload) => {
    const [what, ...rest] = payload.split(' ');
    if (what === 'read') for (const id of rest) hear(id);
    else if (what === 'want' && rest[0]) want(rest[0], Number(rest[1]), Number(rest[2]));
  });
  // What readers asked for while the connection was away was not heard, so they get all of it again.
  const offConnect = notifications.onConnect(() => {
    for (const kept of texts.values()) {
      kept.sent = 0;
      kept.closed = false;
      if (isDue(kept)) wake();
    }
  });
  const sweeps = setInterval(() => {
    const now = performance.now();
    for (const [id, until] of readUntil) if (until < now) readUntil.delete(id);
  }, INTEREST_MS);

  function forget(kept: Kept): void {
    if (texts.get(kept.taskId) === kept) texts.delete(kept.taskId);
  }

  return {
    start({ task }) {
      texts.set(task.id, {
        taskId: task.id,
        attempt: task.attempt,
        text: createAttemptText(maxOutputBytes),
        sent: 0,
        closed: false,
      });
      if (task.streamed) hear(task.id);
    },
    emit({ task }, piece) {
      const kept = texts.get(task.id);
      if (kept?.attempt !== task.attempt) return;
      kept.text.add(piece);
      if (isDue(kept)) wake();
    },
    async end({ task }) {
      const kept = texts.get(task.id);
      if (kept?.attempt !== task.attempt) return;
      kept.text.end();
      if (isDue(kept))
        await within(flush(kept), END_PATIENCE_MS, 'the last of a text').catch((error) =>
          log.debug({ err: error, task_id: task.id }, 'the last of a text was not published in time'),
        );
      const { length } = kept.text;
      const ofUse = length > 0 || isRead(task.id);
      if (!ofUse || keptUnits + length > MAX_KEPT_UNITS) return forget(kept);
      keptUnits += length;
      setTimeout(() => {
        keptUnits -= length;
        forget(kept);
      }, KEEP_MS).unref();
    },
    close() {
      closed = true;
      clearTimeout(timer);
      clearInterval(sweeps);
      stopListening();
      offConnect();
    },
  };

  /** Publishes at once what is left of a text. */
  async function flush(kept: Kept): Promise<void> {
    const until = performance.now() + END_PATIENCE_MS;
    while (isDue(kept) && performance.now() < until && !closed) {
      if (!turn) {
        clearTimeout(timer);
        timer = undefined;
        turn = publish().finally(() => {
          turn = undefined;
        });
      }
      if (!(await turn)) await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }
}

/** The next pieces of a text, which count as published from now on. */
function takePieces(kept: Kept): Piece[] {
  const { taskId, attempt, text } = kept;
  const pieces: Piece[] = [];
  let bytes = 0;
  do {
    let to = cutAt(text, kept.sent, MAX_TEXT_BYTES);
    if (Buffer.byteLength(text.slice(kept.sent, to)) > MAX_TEXT_BYTES)
      to = cutAt(text, kept.sent, Math.floor(MAX_TEXT_BYTES / 3));
    const part = text.slice(kept.sent, to);
    const last = text.ended && to === text.length;
    pieces.push({ taskId, attempt, offset: kept.sent, text: part, last });
    bytes += Buffer.byteLength(part);
    kept.sent = to;
    kept.closed = last;
  } while (kept.sent < text.length && bytes < MAX_BYTES_A_TURN);
  return pieces;
}
