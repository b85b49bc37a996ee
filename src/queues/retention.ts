import type { Db } from '../db/connect.ts';
import { forgetPayloads } from '../db/tasks/forget.ts';
import { deleteTasks, listOld, type RetentionDays } from '../db/tasks/retention.ts';
import type { Logger } from '../log.ts';
import type { Repairs } from './repairs.ts';

export type { RetentionDays } from '../db/tasks/retention.ts';

/** Deletes what is kept no longer, a little at a time. */
export interface Retention {
  /** Goes on where it stopped, until then or until all is seen. Never throws: what cannot be deleted now is tried again. */
  goOn(until: number): Promise<void>;
  /** Begins with the oldest again, whether its time is come or not. */
  restart(): void;
}

interface Options {
  db: Db;
  days: RetentionDays;
  repairs: Repairs;
  log: Logger;
}

const BEGINNING = '00000000-0000-0000-0000-000000000000';
/** How long after its end a round through the old tasks begins again. */
const AGAIN_MS = 3_600_000;
/** So that no statement takes long, on whatever machine: the next page is half as large where one took longer, else twice. */
const GOAL_MS = 50;
const PAGE = { first: 100, min: 5, max: 1_000 };

/** Makes it. */
export function createRetention({ db, days, repairs, log }: Options): Retention {
  let place = BEGINNING;
  let page = PAGE.first;
  let notBefore = 0;
  let failing = false;

  function restart(): void {
    place = BEGINNING;
    notBefore = 0;
  }

  /** Does a page; answers whether it was the last one. */
  async function step(): Promise<boolean> {
    const began = Date.now();
    const asked = page;
    const found = await listOld(db, days, place, asked);
    const over = found.filter((task) => task.over).map(({ id }) => id);
    const empty = found.filter((task) => task.empty && !task.over).map(({ id }) => id);
    if (over.length > 0) repairs.forgotten += await deleteTasks(db, over, days);
    if (empty.length > 0) repairs.emptied += (await forgetPayloads(db, 'any', empty, days.payload)).length;
    place = found.at(-1)?.id ?? place;
    resize(Date.now() - began);
    return found.length < asked;
  }

  function resize(ms: number): void {
    page = Math.max(PAGE.min, Math.min(PAGE.max, ms > GOAL_MS ? page / 2 : page * 2)) | 0;
  }

  return {
    restart,
    async goOn(until) {
      if (Date.now() < notBefore) return;
      try {
        for (let done = false; !done && Date.now() < until; ) {
          done = await step();
          if (!done) continue;
          restart();
          notBefore = Date.now() + AGAIN_MS;
        }
        failing = false;
      } catch (error) {
        log[failing ? 'debug' : 'warn']({ err: error }, 'old tasks could not be deleted; it is tried again');
        failing = true;
        resize(Number.POSITIVE_INFINITY);
      }
    },
  };
}
