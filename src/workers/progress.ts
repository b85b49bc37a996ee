import type { Db } from '../db/connect.ts';
import { type Said, writeProgress } from '../db/tasks/run.ts';
import { repeat, within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import { cleanJson, cleanText, findNotJson } from '../tasks/clean.ts';
import type { LogLevel } from '../tasks/tools.ts';
import type { Attempt } from './attempt.ts';
import type { createTelling, Progress } from './progress-telling.ts';

/** Writes what attempts say of themselves, together, a few times a second. */
export interface ProgressWriter {
  /**
   * The latest word of each counts. The timeline keeps some of them, the more seldom the longer an attempt runs; of what is
   * said in passing none.
   */
  report(attempt: Attempt, percent: number | null, message: string | null, kind?: 'passing'): void;
  /** A line for the timeline, which keeps so many of an attempt. */
  log(attempt: Attempt, level: LogLevel, text: string, fields?: Record<string, unknown>): void;
  /** Writes what the timeline has still to get of an attempt before it is settled; never for long. */
  end(attempt: Attempt): Promise<void>;
  /** Stops at once; what is on the way is not waited for. */
  close(): void;
}

/** What is known of an attempt that said something. */
interface Speaker {
  since: number;
  /** The latest word, as far as the timeline has not got it. */
  word: Progress | undefined;
  keptAt: number;
  lines: number;
}

const EVERY_MS = 250;
/** The timeline keeps a word every half second at most, and only where a hundredth of the time so far has passed. */
const KEEP_EVERY_MS = 500;
const KEEP_PART = 0.01;
const MAX_LINES = 200;
const MAX_LINE = 2_000;
const MAX_FIELDS_BYTES = 4_000;
/** What cannot be written is tried again, but not all of it for ever. */
const MAX_UNWRITTEN = 10_000;
const END_PATIENCE_MS = 1_000;

interface Options {
  db: Db;
  /** Tells webhooks. */
  tell: ReturnType<typeof createTelling>;
  log: Logger;
}

/** Starts the writer. Progress that cannot be written is let go: the next word replaces it anyway. */
export function createProgress({ db, tell, log }: Options): ProgressWriter {
  let latest = new Map<Attempt, Progress>();
  let said: Said[] = [];
  const speakers = new WeakMap<Attempt, Speaker>();
  /** Who said something that the timeline may still get. */
  const pending = new Set<Attempt>();
  let writing: Promise<void> = Promise.resolve();

  function speakerOf(attempt: Attempt): Speaker {
    let speaker = speakers.get(attempt);
    if (!speaker) {
      speaker = { since: performance.now(), word: undefined, keptAt: Number.NEGATIVE_INFINITY, lines: 0 };
      speakers.set(attempt, speaker);
    }
    return speaker;
  }

  const heldOf = ({ task }: Attempt) => ({ id: task.id, attempt: task.attempt });

  function keepWords(): void {
    const now = performance.now();
    for (const attempt of pending) {
      const speaker = speakerOf(attempt);
      if (now - speaker.keptAt >= Math.max(KEEP_EVERY_MS, (now - speaker.since) * KEEP_PART)) keepWord(attempt);
    }
  }

  function keepWord(attempt: Attempt): void {
    const speaker = speakerOf(attempt);
    if (speaker.word) said.push({ ...heldOf(attempt), type: 'progress', data: { ...speaker.word } });
    speaker.word = undefined;
    speaker.keptAt = performance.now();
    pending.delete(attempt);
  }

  async function write(): Promise<void> {
    if (latest.size === 0 && said.length === 0) return;
    const words = [...latest];
    const updates = words.map(([attempt, word]) => ({ ...heldOf(attempt), ...word }));
    const lines = said;
    latest = new Map();
    said = [];
    let heard: Set<string>;
    try {
      heard = new Set(await writeProgress(db, updates, lines));
    } catch (error) {
      said = [...lines, ...said].slice(-MAX_UNWRITTEN);
      throw error;
    }
    if (heard.size === 0) return;
    // The last word before a pause is told too, when it is time.
    for (const [attempt, word] of await tell(words.filter(([{ task }]) => heard.has(task.id))))
      if (!latest.has(attempt)) latest.set(attempt, word);
  }

  /** One after the other, so that lines stay in order. */
  function flush(): Promise<void> {
    writing = writing.catch(() => {}).then(write);
    return writing;
  }

  const flushKept = () => {
    keepWords();
    return flush();
  };
  const stop = repeat(EVERY_MS, flushKept, (error) => log.debug({ err: error }, 'progress could not be written'));
  return {
    report(attempt, percent, message, kind) {
      const bounded = percent === null || !Number.isFinite(percent) ? null : Math.min(100, Math.max(0, percent));
      const word = { percent: bounded, message: message === null ? null : cleanText(message.slice(0, 500)) };
      latest.set(attempt, word);
      if (kind === 'passing') return;
      speakerOf(attempt).word = word;
      pending.add(attempt);
    },
    log(attempt, level, text, fields) {
      const speaker = speakerOf(attempt);
      if (speaker.lines > MAX_LINES) return;
      const full = speaker.lines++ === MAX_LINES;
      const line = full
        ? {
            level: 'warn',
            message: `After ${MAX_LINES} lines, further ones are in the log of the worker alone.`,
            fields: null,
          }
        : { level, message: cleanText(text.slice(0, MAX_LINE)), fields: fieldsOf(fields) };
      said.push({ ...heldOf(attempt), type: 'log', data: line });
    },
    async end(attempt) {
      if (pending.has(attempt)) keepWord(attempt);
      if (!said.some(({ id, attempt: number }) => id === attempt.task.id && number === attempt.task.attempt)) return;
      await within(flush(), END_PATIENCE_MS, 'the last lines of an attempt').catch((error) =>
        log.debug({ err: error, task_id: attempt.task.id }, 'the last lines of an attempt were not written in time'),
      );
    },
    close: () => void stop(),
  };
}

/** What cannot be stored, or is too much, is left out. */
function fieldsOf(fields: Record<string, unknown> | undefined): unknown {
  if (fields === undefined || findNotJson(fields)) return null;
  const clean = cleanJson(fields);
  return Buffer.byteLength(JSON.stringify(clean)) > MAX_FIELDS_BYTES ? null : clean;
}
