import type { Db } from '../db/connect.ts';
import { listWaitingDeliveries } from '../db/deliveries.ts';
import { raiseGenerations } from '../db/tasks/repair.ts';
import { BEGINNING, listWaitingTasks, type Place, placeBefore } from '../db/tasks/waiting.ts';
import type { Logger } from '../log.ts';
import type { QueueBackend } from './backend.ts';
import type { Dispatcher, Wake } from './dispatcher.ts';
import { jobId } from './job-id.ts';
import { listOrphans, type Orphans } from './orphans.ts';
import { applyPauses } from './pauses.ts';
import type { Repairs } from './repairs.ts';
import { createWalk, type Walk } from './walk.ts';

interface Options {
  db: Db;
  backend: QueueBackend;
  dispatcher: Dispatcher;
  /** Counts what is repaired here. */
  repairs: Repairs;
  /** How much waiting a class of priority is worth; see `turn.ts`. */
  agingMs: number;
  /** A row is looked at only when it has waited this long, because its job may be just on the way. */
  quietMs: number;
  log: Logger;
}

/** Compares rows with jobs, piece by piece, and repairs what differs. */
export interface Comparison {
  /** Compares everything anew from now on. */
  restart(): void;
  /** Goes on until that time or the end; answers whether there is more to do. @throws when a store does not answer; the next call goes on */
  goOn(until: number): Promise<boolean>;
}

const PAGE = 1_000;
/** How much later than it was ready a row may be seen for the first time, because its statement took long. */
const LATE_MS = 10_000;
/** After this long, every waiting row is compared with its job again and every job with its row, as a net below the nets. */
const FULL_LOOK_MS = 300_000;

/** Starts with nothing to do; {@link Comparison.restart} gives it work. */
export function createComparison({ db, backend, dispatcher, repairs, agingMs, quietMs, log }: Options): Comparison {
  /** Follow the rows that become ready, and look once whether each has its job. */
  const tails = [
    { kind: 'task' as const, list: listWaitingTasks, place: undefined as Place | undefined },
    { kind: 'delivery' as const, list: listWaitingDeliveries, place: undefined as Place | undefined },
  ];
  let walk: Walk | undefined;
  let orphans: AsyncGenerator<Orphans, void> | undefined;
  let lookedAt = 0;
  let knownEpoch: string | undefined;
  /** Whether the store holds nothing but what the walk has added again. */
  let emptied = false;

  function lookAtAll(): void {
    walk = createWalk(db, { agingMs, quietMs, page: PAGE });
    orphans = listOrphans(db, backend);
    lookedAt = Date.now();
  }

  async function checkEpoch(): Promise<void> {
    const epoch = await backend.readEpoch();
    if (epoch !== undefined && epoch === knownEpoch) return;
    if (knownEpoch !== undefined) {
      repairs.epochsLost++;
      log.warn({ backend: backend.kind, emptied: epoch === undefined }, 'the queue store was emptied or restarted');
    }
    // It has forgotten which lanes stand still, too: nothing is added before it knows.
    await applyPauses(db, backend);
    await backend.writeEpoch();
    knownEpoch = await backend.readEpoch();
    emptied ||= epoch === undefined;
    lookAtAll();
  }

  /** Adds the jobs that are missing, in the order of the rows. */
  async function rebuild(rows: Wake[]): Promise<void> {
    const missing = await dispatcher.findMissing(rows);
    if (missing.length === 0) return;
    const spent = missing.filter(({ finished }) => finished).map(({ wake }) => wake);
    const raised = await raise(spent);
    for (const [lane, own] of Map.groupBy(spent, (wake) => wake.lane)) await backend.removeJobs(lane, own.map(jobId));
    // In place: where adding fails, the same rows come again.
    for (const wake of spent) wake.generation = raised.get(wake.id) ?? wake.generation;
    const wakes = missing.flatMap(({ wake, finished }) => (finished && !raised.has(wake.id) ? [] : [wake]));
    await dispatcher.restore(wakes);
    repairs.rebuilt += wakes.length;
  }

  async function raise(spent: Wake[]): Promise<Map<string, number>> {
    const of = (wanted: Wake['kind']) => spent.filter(({ kind }) => kind === wanted);
    const tasks = await raiseGenerations(db, 'task', of('task'));
    return new Map([...tasks, ...(await raiseGenerations(db, 'delivery', of('delivery')))]);
  }

  // The steps answer whether they came to their end in time.

  async function followTails(until: number): Promise<boolean> {
    for (const tail of tails) {
      for (let full = true; full; ) {
        if (Date.now() > until) return false;
        const rows = await tail.list(db, tail.place ?? BEGINNING, quietMs, PAGE);
        await rebuild(rows.map((row) => ({ ...row, kind: tail.kind })));
        // Those that are held back are not looked at again and again, however many they are.
        tail.place = rows.at(-1) ?? (tail.place && (await placeBefore(db, quietMs + LATE_MS, tail.place)));
        full = rows.length === PAGE;
      }
    }
    return true;
  }

  async function walkOn(until: number): Promise<boolean> {
    while (walk) {
      const rows = await walk.read();
      await rebuild(rows);
      walk.advance();
      if (rows.length < PAGE) walk = undefined;
      else if (Date.now() > until) return false;
    }
    if (emptied) log.info({ ms: Date.now() - lookedAt }, 'everything that waits has a job again');
    emptied = false;
    return true;
  }

  async function tidy(until: number): Promise<boolean> {
    while (orphans) {
      try {
        const { value } = await orphans.next();
        if (!value) orphans = undefined;
        else if (value.ids.length > 0) repairs.orphans += await backend.removeJobs(value.lane, value.ids);
      } catch (error) {
        // What has thrown does not go on.
        orphans = listOrphans(db, backend);
        throw error;
      }
      if (Date.now() > until) return orphans === undefined;
    }
    return true;
  }

  return {
    restart() {
      for (const tail of tails) tail.place = undefined;
      lookAtAll();
    },
    async goOn(until) {
      await checkEpoch();
      // The walk sees what is older than this.
      for (const tail of tails) tail.place ??= await placeBefore(db, quietMs);
      if (Date.now() - lookedAt > FULL_LOOK_MS && !walk && !orphans) lookAtAll();
      // In an empty store the most urgent comes first; in a full one, what could not be added just now.
      const steps = emptied ? [walkOn, followTails] : [followTails, walkOn];
      for (const step of [...steps, tidy]) if (!(await step(until))) return true;
      return false;
    },
  };
}
