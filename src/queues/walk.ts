import type { Db } from '../db/connect.ts';
import { listWaitingDeliveries } from '../db/deliveries.ts';
import { BEGINNING, listClasses, listLine, type Place, type Waiting } from '../db/tasks/waiting.ts';
import { LANES } from '../tasks/lanes.ts';
import type { Wake } from './dispatcher.ts';
import { turnOf } from './turn.ts';

/** A walk over everything that waits, in the order in which it will run. */
export interface Walk {
  /** The next rows, and the same ones again until {@link Walk.advance} is called; none at the end. */
  read(): Promise<Wake[]>;
  /** What was read is done with. */
  advance(): void;
}

interface Options {
  agingMs: number;
  /** What became ready less than this ago is left out: its job may be just on the way. */
  quietMs: number;
  /** How many rows are read at a time. */
  page: number;
}

interface Row extends Wake {
  turn: number;
}

/** What waits in one class, or the deliveries: already in order. */
interface Line {
  kind: Wake['kind'];
  list: (place: Place) => Promise<Waiting[]>;
  place: Place;
  rows: Row[];
  ended: boolean;
}

/**
 * Starts at the front. Each class of each lane is in order by an index, so the walk takes them by turns like the piles of
 * a merge sort: it keeps one page of each and never sorts more.
 */
export function createWalk(db: Db, { agingMs, quietMs, page }: Options): Walk {
  let lines: Line[] | undefined;
  let rows: Row[] = [];

  const line = (kind: Wake['kind'], list: Line['list']): Line => ({
    kind,
    list,
    place: BEGINNING,
    rows: [],
    ended: false,
  });

  async function open(): Promise<Line[]> {
    // During a roll-out tasks wait in lanes that only newer processes know; those are theirs to wake.
    const classes = (await listClasses(db)).filter(({ lane }) => LANES.includes(lane));
    return [
      ...classes.map((one) => line('task', (place) => listLine(db, one, place, quietMs, page))),
      line('delivery', (place) => listWaitingDeliveries(db, place, quietMs, page, { later: true })),
    ];
  }

  async function refill(one: Line): Promise<void> {
    const found = await one.list(one.place);
    one.rows = found.map((row) => ({ ...row, kind: one.kind, turn: turnOf(row, agingMs) }));
    one.ended = found.length < page;
    one.place = found.at(-1) ?? one.place;
  }

  return {
    async read() {
      lines ??= await open();
      while (rows.length < page) {
        for (const one of lines) if (one.rows.length === 0 && !one.ended) await refill(one);
        lines = lines.filter((one) => one.rows.length > 0);
        const first = lines.reduce<Line | undefined>(
          (best, one) => (best && goesBefore(best, one) ? best : one),
          undefined,
        );
        const row = first?.rows.shift();
        if (!row) break;
        rows.push(row);
      }
      return rows;
    },
    advance() {
      rows = [];
    },
  };
}

/** Whether the head of `a` runs before that of `b`. Within one turn BullMQ runs first what was added first. */
function goesBefore(a: Line, b: Line): boolean {
  const [x, y] = [a.rows[0] as Row, b.rows[0] as Row];
  const since = ({ queued_at, ready_at }: Row) => (queued_at ?? ready_at).getTime();
  return x.turn < y.turn || (x.turn === y.turn && since(x) <= since(y));
}
