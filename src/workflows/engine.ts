import { sql } from 'kysely';
import { isDatabaseAway } from '../db/away.ts';
import type { Db } from '../db/connect.ts';
import { signalTasks } from '../db/tasks/signal.ts';
import { stopParts } from '../db/tasks/stop.ts';
import { expireApprovals, listNeglected } from '../db/workflows/ends.ts';
import { restartRun } from '../db/workflows/restart.ts';
import { isToRestart, lockRun, saveRun } from '../db/workflows/runs.ts';
import { closeSteps } from '../db/workflows/steps.ts';
import type { Logger } from '../log.ts';
import { tellMoved } from '../queues/after.ts';
import type { Dispatcher } from '../queues/dispatcher.ts';
import type { Places } from '../queues/places.ts';
import { type Advanced, type AdvanceOptions, advanceOnce, reckonAll } from './advance.ts';
import { wrong } from './children.ts';

/** Moves workflows on. Any number of processes may do it. */
export interface Workflows {
  /** Moves a workflow on soon, because something of it ended. Never throws: what is missed here is found by {@link Workflows.sweep}. */
  advance(id: string): void;
  /** Moves a workflow on until nothing can be done at once. @throws when the database is away, or this is closed */
  moveOn(id: string): Promise<void>;
  /** Has a workflow begin again that its user wants again, where nobody has seen to that. @throws when the database is away */
  restart(id: string): Promise<void>;
  /**
   * Moves those on that nobody has moved on: whose process is gone, that wait for room, or whose human did not decide in time.
   * Answers how many, and says when that is done; nobody has to wait for it.
   * @param quietMs what ended since is left to whoever is just at it
   */
  sweep(quietMs?: number): Promise<{ found: number; done: Promise<unknown> }>;
  /** Once what is under way is done; nothing is begun any more. */
  close(): Promise<void>;
}

export interface EngineOptions extends AdvanceOptions {
  db: Db;
  dispatcher: Dispatcher;
  places: Places;
  log: Logger;
  /** How long a workflow that could not be moved on is left alone, twice as long each time. */
  againMs?: number;
}

/** So many workflows are moved on at a time; each holds a connection. */
const PARALLEL = 2;
const SWEPT_AT_ONCE = 100;
const QUIET_MS = 2_000;
const AGAIN_MS = 2_000;
/** What could not be moved on so many times in a row, while the database was there, will not be. */
const MOST_FAILURES = 6;
/** Of so many workflows a process knows that they could not be moved on. */
const MOST_KNOWN = 1_000;

/** Makes it. */
export function createWorkflows(options: EngineOptions): Workflows {
  const { db, dispatcher, places, log, againMs = AGAIN_MS } = options;
  /** What is to be moved on; one that is at work may be there again, for what ended meanwhile. */
  const due = new Map<string, PromiseWithResolvers<void>>();
  const atWork = new Map<string, Promise<void>>();
  const failing = new Map<string, { times: number; until: number }>();
  let closing = false;

  /** Moves a workflow on by a part; answers whether there is more to do at once. */
  async function work(id: string): Promise<boolean> {
    try {
      const done = await db.transaction().execute((trx) => advanceOnce(trx, id, options));
      failing.delete(id);
      await tell(done);
      return done.more;
    } catch (error) {
      if (!isFault(error) && !(await failsAgain(id))) throw error;
      log.error({ err: error, task_id: id }, 'a workflow could not be moved on; it fails');
      await giveUp(id);
      return false;
    }
  }

  /**
   * Counts that a workflow could not be moved on, and answers whether it has been so often enough: what it asks for may be what
   * breaks the connection. @throws when the database is away, which says nothing of the workflow
   */
  async function failsAgain(id: string): Promise<boolean> {
    const known = failing.get(id);
    if (isLeftAlone(id)) return false;
    await sql`select 1`.execute(db);
    const times = (known?.times ?? 0) + 1;
    failing.delete(id);
    if (times >= MOST_FAILURES) return true;
    failing.set(id, { times, until: Date.now() + againMs * 2 ** times });
    for (const oldest of failing.keys()) if (failing.size > MOST_KNOWN) failing.delete(oldest);
    return false;
  }

  const isLeftAlone = (id: string) => Date.now() < (failing.get(id)?.until ?? 0);

  async function tell({ children, moved }: Pick<Advanced, 'children' | 'moved'>): Promise<void> {
    const own = children.map((row) => ({ ...row, kind: 'task' as const }));
    await tellMoved(moved, { dispatcher, places, workflows: { advance } }, own);
  }

  /** A workflow that cannot go on must not hang for ever. */
  async function giveUp(id: string): Promise<void> {
    const moved = await db.transaction().execute(async (trx) => {
      const run = await lockRun(trx, id);
      if (!run || run.phase === 'ended') return [];
      const parts = await stopParts(trx, id, { reason: 'the workflow ended' });
      await closeSteps(trx, id);
      await saveRun(
        trx,
        { ...run, phase: 'ended', error: run.error ?? wrong('internal_error', 'Internal error') },
        null,
      );
      return [...parts, ...(await signalTasks(trx, [{ id }]))];
    });
    await tell({ children: [], moved });
  }

  function pump(): void {
    for (const [id, asked] of due) {
      if (closing || atWork.size >= PARALLEL) return;
      if (atWork.has(id)) continue;
      due.delete(id);
      const done = work(id)
        .then((more) => (more && !closing ? putBack(id, asked) : asked.resolve()))
        .catch(asked.reject)
        .finally(() => {
          atWork.delete(id);
          pump();
        });
      atWork.set(id, done);
    }
  }

  /** The rest of a long one comes after what others wait for. */
  function putBack(id: string, asked: PromiseWithResolvers<void>): void {
    const known = due.get(id);
    if (known) known.promise.then(asked.resolve, asked.reject);
    else due.set(id, asked);
  }

  function moveOn(id: string): Promise<void> {
    if (closing) return Promise.reject(new Error('workflows are not moved on any more'));
    const known = due.get(id) ?? Promise.withResolvers<void>();
    due.set(id, known);
    pump();
    return known.promise;
  }

  function advance(id: string): void {
    moveOn(id).catch((error) => log.debug({ err: error, task_id: id }, 'a workflow could not be moved on now'));
  }

  async function restart(id: string): Promise<void> {
    const moved = await db.transaction().execute(async (trx) => {
      const run = await lockRun(trx, id);
      if (!run || !isToRestart(run)) return [];
      // Tasks of its steps may have been run again by themselves. None completes any more from here on, so that what has is known.
      const parts = await stopParts(trx, id, { reason: 'the workflow begins again' });
      await reckonAll(trx, run);
      await restartRun(trx, id, run.phase === 'anew');
      return parts;
    });
    await tell({ children: [], moved });
  }

  return {
    moveOn,
    restart,
    advance,
    async sweep(quietMs = QUIET_MS) {
      await expireApprovals(db, SWEPT_AT_ONCE);
      const neglected = await listNeglected(db, quietMs, SWEPT_AT_ONCE);
      const ids = neglected.filter((id) => !isLeftAlone(id));
      const moves = ids.map((id) =>
        moveOn(id).catch((error) => log.warn({ err: error, task_id: id }, 'a workflow could not be moved on now')),
      );
      return { found: ids.length, done: Promise.all(moves) };
    },
    async close() {
      closing = true;
      for (const { reject } of due.values()) reject(new Error('workflows are not moved on any more'));
      due.clear();
      await Promise.all(atWork.values());
    },
  };
}

/** Errors that would come again: not of connections, and not of two that waited for each other. */
function isFault(error: unknown): boolean {
  return !isDatabaseAway(error) && !/^(40|55)/.test(String((error as { code?: unknown }).code ?? ''));
}
