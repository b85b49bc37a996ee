import { canonicalName } from '../clients/model-names.ts';
import { createBatch } from '../db/batch.ts';
import type { Db } from '../db/connect.ts';
import type { Claim } from '../db/tasks/run.ts';
import { readWanted } from '../db/tasks/wanted.ts';
import { within } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { QueueBackend } from '../queues/backend.ts';
import { jobId, parseJobId } from '../queues/job-id.ts';
import type { Lane } from '../tasks/lanes.ts';
import { type Chosen, createWindowOrder, type Hosts, type InWindow, SOON_MS } from './window-order.ts';

/** What is known of the models' hosts, and of changes. */
export interface Models extends Hosts {
  /** Hears whenever an outlook may be another. Answers what ends that. */
  onChange(listener: () => void): () => void;
}

/**
 * Looks at the first tasks of a lane before one of them starts, so that one whose model is in memory may go before others, for a
 * while. Nothing is kept from other workers by that: all wait as before, in Postgres and in BullMQ.
 */
export interface Window {
  /**
   * Which task is to start, where a worker was given the job of `head`: mostly that one; `undefined` where no host has room for any,
   * and once it is closed. Never throws: what cannot be found out leaves everything in its order.
   */
  choose(head: Head): Promise<Choice | undefined>;
  /** The job of a head (the same object) that was not chosen waits in BullMQ again. */
  isBack(head: Head): void;
  /** Whether it chose this task before its turn, so that its job waits in BullMQ still. */
  isEarly(task: Claim): boolean;
  /** A host has begun with its call. */
  begun(task: Claim): void;
  /** What was chosen has ended, or could not be started. */
  done(task: Choice): void;
  /** Resolves when a host may have room again, at the latest after a second. */
  change(): Promise<void>;
  /** From now on nothing is waited for. */
  close(): void;
}

/** What a worker was given: the job of a task. */
export interface Head extends Claim {
  /** By which BullMQ orders the lane, and when the job was made: the first is first of as many. */
  turn: number;
  since: number;
}

/** What is to start; `unknown` where it was not this choice that the window counts. */
export type Choice = Claim & { unknown?: boolean };

interface Options {
  db: Db;
  backend: Pick<QueueBackend, 'firstJobs'>;
  lane: Lane;
  models: Models;
  /** How long a task may be passed over, in all. */
  boundMs: number;
  log: Logger;
}

/** How many are looked at; those behind are never preferred. */
const SIZE = 128;
/** Of how many the models are read at once: an input may be long, and is read whole for that. */
const READ = 32;
const READ_APART_MS = 10;
const PATIENCE_MS = 1_000;
/** A job that is to be taken away is no longer looked at from the start of its task on. */
const REMEMBER_MS = 1_000;

type Known = Claim & InWindow;
const byTurn = (a: Head, b: Head) => a.turn - b.turn || a.since - b.since || (a.id < b.id ? -1 : 1);

/** Makes it. */
export function createWindow({ db, backend, lane, models, boundMs, log }: Options): Window {
  const order = createWindowOrder<Known>(boundMs);
  /** What slots of this process were given and have neither started nor put back. */
  const heads = new Map<string, Head>();
  const chosen = new Map<string, Chosen & { early: boolean }>();
  /** Those of the chosen that have ended, and when, the first of them first. */
  const ended = new Map<string, number>();
  /** Those seen last; what a task wants never changes. */
  let seen = new Map<string, Known>();
  const readModel = createBatch<Claim, Known | undefined>({
    max: READ,
    apartMs: READ_APART_MS,
    async run(claims) {
      const found = new Map((await readWanted(db, claims)).map((row) => [jobId(row), row]));
      return claims.map((claim) => {
        const row = found.get(jobId(claim));
        return (
          row && {
            id: row.id,
            generation: row.generation,
            model: row.model === null ? undefined : canonicalName(row.model),
          }
        );
      });
    },
  });
  let closed = false;
  const wakes = new Set<() => void>();
  const wake = () => {
    for (const one of [...wakes]) one();
  };

  /** The first of the lane as far as they may start, with the models that they want, in the order of their turns. */
  async function readLine(): Promise<Known[]> {
    // What is put back, or given to a slot, while the queue is read, might not be seen in it.
    const before = [...heads.values()];
    const ids = await within(backend.firstJobs(lane, SIZE), PATIENCE_MS, `the queue of the lane ${lane}`);
    const ahead = ids.map(parseJobId).filter((job) => job !== undefined);
    const held = [...before, ...heads.values()].sort(byTurn);
    const all = new Map<string, Claim>([...held, ...ahead].map((claim) => [jobId(claim), claim]));
    const free = [...all].filter(([id]) => !wasChosen(id));
    const known = await Promise.all(free.map(([id, claim]) => seen.get(id) ?? readModel(claim)));
    return known.filter((one) => one !== undefined);
  }

  function wasChosen(id: string): boolean {
    for (const [old, at] of ended) {
      if (at > performance.now() - REMEMBER_MS) break;
      ended.delete(old);
    }
    return chosen.has(id) || ended.has(id);
  }

  async function decide(
    head: Claim,
    reading: Promise<Known | undefined>,
  ): Promise<(Claim & { model?: string }) | undefined> {
    const own = await reading;
    // Its claim will say that there is nothing to start.
    if (!own) return head;
    // The others are of no matter where its model is there and nobody was passed over.
    const isAlone = !order.passesOver() && models.outlook(own.model) === 'loaded';
    const line = isAlone ? [own] : await readLine();
    if (!isAlone) seen = new Map(line.map((one) => [jobId(one), one]));
    return order.choose(line, models, chosen.values(), performance.now());
  }

  /** The same; what is about to take room is waited for. */
  async function decideSoon(...given: Parameters<typeof decide>): ReturnType<typeof decide> {
    const until = performance.now() + SOON_MS;
    for (;;) {
      const next = await decide(...given);
      const left = until - performance.now();
      if (next || closed || left <= 0 || !chosen.values().some(({ begun }) => !begun)) return next;
      await change(left);
    }
  }

  function change(ms: number): Promise<void> {
    if (closed) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        stop();
        wakes.delete(end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      const stop = models.onChange(end);
      wakes.add(end);
    });
  }

  let last: Promise<unknown> = Promise.resolve();
  /** One at a time, so that each sees what was chosen before. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = last.then(work);
    last = result.catch(() => {});
    return result;
  }

  function forget(head: Head): void {
    // Another slot may have been given it by now.
    if (heads.get(jobId(head)) === head) heads.delete(jobId(head));
  }

  return {
    choose(head) {
      const id = jobId(head);
      heads.set(id, head);
      // Before its turn, so that it is read together with those of others.
      const reading = Promise.resolve(seen.get(id) ?? readModel(head));
      reading.catch(() => {});
      return inTurn(async () => {
        // Where another slot chose it meanwhile, its claim will say so, and the end of that changes nothing.
        if (closed) return undefined;
        if (wasChosen(id)) return { id: head.id, generation: head.generation, unknown: true };
        const next = await decideSoon(head, reading).catch((error) => {
          log.debug({ err: error, lane }, 'the window could not be read; the first in line starts');
          return head;
        });
        if (!next || closed) return undefined;
        const [at, early] = [performance.now(), next.id !== head.id];
        chosen.set(jobId(next), { model: (next as InWindow).model, at, begun: false, early });
        return { id: next.id, generation: next.generation };
      }).then((choice) => {
        if (choice?.id === head.id) forget(head);
        return choice;
      });
    },
    isBack: forget,
    isEarly: (task) => chosen.get(jobId(task))?.early ?? false,
    begun(task) {
      const one = chosen.get(jobId(task));
      if (one) one.begun = true;
      wake();
    },
    done(task) {
      if (task.unknown) return;
      const id = jobId(task);
      if (!chosen.delete(id)) return;
      ended.set(id, performance.now());
      wake();
    },
    change: () => change(PATIENCE_MS),
    close() {
      closed = true;
      wake();
    },
  };
}
