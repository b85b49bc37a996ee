import { isDatabaseAway } from '../../db/away.ts';
import { createBatch, Overloaded } from '../../db/batch.ts';
import type { Db } from '../../db/connect.ts';
import { hasEnded } from '../../db/schema.ts';
import type { TaskRow } from '../../db/tasks/read.ts';
import { type Asked, type Look, lookAtTasks, type TimelineRow } from '../../db/tasks/timeline.ts';
import { createTaskReader } from '../task-reader.ts';
import type { Waiters, Watch } from '../waiters.ts';
import type { TextPart } from './feed.ts';
import type { Feeds, OpenFeed } from './feeds.ts';

/** What a reader of a task gets, in order. `cut` is the last one where the end of the task was not reached. */
export type TaskEvent =
  | { event: 'status' | 'progress' | 'log' | 'step'; id: string; data: TimelineRow }
  | { event: 'output'; data: TextPart }
  | { event: 'completed'; id: string; data: TaskRow }
  | { event: 'idle' }
  | { event: 'cut'; why: 'slow' | 'gone' };

export interface ReadOptions {
  /** Only what happened after this event; all of it where that is `null`. Text comes from the beginning of the present attempt. */
  after: string | null;
  /** Whether the text is wanted. */
  text: boolean;
  /** How often to say `idle`, whether something happens or not. */
  idleMs: number;
  /** Ends the reading. */
  signal: AbortSignal;
}

/** Reads the events of a task until its end, from wherever it runs. Nothing is read ahead: who asks slowly gets it slowly. */
export type ReadEvents = (taskId: string, options: ReadOptions) => AsyncGenerator<TaskEvent, void>;

interface Options {
  db: Db;
  waiters: Waiters;
  feeds: Feeds;
}

const MAX_EVENTS = 200;
const MAX_LOOKS = 200;
/** Text that goes into one event, in UTF-16 units. */
const MAX_TEXT = 16 * 1024;
/** How long the end of a text is waited for when its attempt has ended. */
const REST_MS = 1_000;
const AWAY_MS = 1_000;

/** Makes it. */
export function createReadEvents({ db, waiters, feeds }: Options): ReadEvents {
  const look = createBatch<Asked, Look | undefined>({
    run: async (asked) => {
      const unique = [...new Map(asked.map((one) => [keyOf(one), one])).values()];
      const looks = await lookAtTasks(db, unique, MAX_EVENTS);
      const byKey = new Map(unique.map((one, index) => [keyOf(one), looks[index]]));
      return asked.map((one) => byKey.get(keyOf(one)));
    },
    max: MAX_LOOKS,
    parallel: 2,
  });
  const findRow = createTaskReader(db);
  const underWay = new Map<string, Promise<TaskRow | undefined>>();
  /** Those who read the same task hear of its end together, and read it together. */
  function findFinal(id: string): Promise<TaskRow | undefined> {
    let finding = underWay.get(id);
    if (!finding) {
      finding = findRow(id).finally(() => underWay.delete(id));
      underWay.set(id, finding);
    }
    return finding;
  }

  /** Tries until the database answers. */
  async function patiently<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (signal.aborted || !(isDatabaseAway(error) || error instanceof Overloaded)) throw error;
        await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
      }
    }
  }

  return async function* read(id, { after, text, idleMs, signal }) {
    const watch = waiters.watch(id, 'changes');
    const feed = feeds.open(id, watch.ring);
    // Once, and not with each wait: there are many.
    signal.addEventListener('abort', watch.ring, { once: true });
    try {
      const firstLive = await patiently(feed.begin, signal);
      let cursor = after;
      let running: number | undefined;
      let idleAt = performance.now() + idleMs;

      for (;;) {
        while (watch.changed()) {
          const seen = await patiently(() => look({ id, after: cursor }), signal);
          if (!seen) return yield { event: 'cut', why: 'gone' };
          for (const event of seen.events) {
            if (event.id === seen.endId) break;
            if (text && event.type === 'attempt_ended' && event.attempt >= (firstLive ?? Number.POSITIVE_INFINITY))
              yield* restOf(event, watch, feed, signal);
            cursor = event.id;
            const name =
              event.type === 'progress' || event.type === 'log' || event.type === 'step' ? event.type : 'status';
            if (event.type !== 'webhook') yield { event: name, id: event.id, data: event };
          }
          running = seen.status === 'running' || seen.status === 'cancelling' ? seen.attempt : undefined;
          const atEnd = hasEnded(seen.status) && seen.events.length < MAX_EVENTS;
          const task = atEnd ? await patiently(() => findFinal(id), signal) : undefined;
          // Somebody may have run it again in between; then it goes on.
          if (task && seen.endId && hasEnded(task.status))
            return yield { event: 'completed', id: seen.endId, data: task };
          if (atEnd || seen.events.length === MAX_EVENTS) watch.stir();
        }
        if (performance.now() >= idleAt) {
          idleAt = performance.now() + idleMs;
          yield { event: 'idle' };
        }
        const part = text && running !== undefined ? feed.next(running, MAX_TEXT) : undefined;
        if (part) yield { event: 'output', data: part };
        else if (running !== undefined && feed.isBehind(running)) return yield { event: 'cut', why: 'slow' };
        else if (signal.aborted || !(await watch.wait(Math.max(0, idleAt - performance.now()))) || signal.aborted)
          return;
      }
    } finally {
      feed.close();
      watch.close();
    }
  };
}

const keyOf = ({ id, after }: Asked) => `${id} ${after}`;

/** What is left of the text of an attempt that has ended; of one whose worker was lost, as much as is here. */
async function* restOf(
  { attempt, data }: TimelineRow,
  watch: Watch,
  feed: OpenFeed,
  signal: AbortSignal,
): AsyncGenerator<TaskEvent, void> {
  let until = performance.now() + (data.outcome === 'lost' ? 0 : REST_MS);
  let asked = false;
  for (;;) {
    const part = feed.next(attempt, MAX_TEXT);
    if (part) {
      yield { event: 'output', data: part };
      until = Math.max(until, performance.now() + REST_MS / 2);
    } else {
      const left = until - performance.now();
      if (feed.isOver(attempt) || feed.isBehind(attempt) || left <= 0) return;
      if (!asked) feed.ask(attempt);
      asked = true;
      if (!(await watch.wait(left)) || signal.aborted) return;
    }
  }
}
