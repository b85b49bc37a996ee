// Does one thing again and again, side by side, for some seconds: `work-main.ts <verb> <seconds>`; BullMQ is on Redis where there is a REDIS_URL.
import { once } from 'node:events';
import pg from 'pg';
import { v7 } from 'uuid';
import { migrate, openQueue, openWorker, QUEUE } from '../naive/stack.ts';

const [verb = '', seconds] = process.argv.slice(2);

const SIDE_BY_SIDE = 64;
const BATCHES_SIDE_BY_SIDE = 4;
const MANY = 100;
const JOB = { removeOnComplete: true, removeOnFail: true };

interface Work {
  /** Does it once; answers how many that were. */
  once: () => Promise<number>;
  sideBySide: number;
}

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const row = () => [v7(), v7(), JSON.stringify({ text: 'x'.repeat(280) })];

async function makeTable(): Promise<void> {
  await pool.query('drop table if exists rows');
  await pool.query('create table rows (id uuid primary key, user_id uuid, input jsonb, at timestamptz default now())');
}

async function adds(many: boolean): Promise<Work> {
  const queue = openQueue();
  await queue.obliterate({ force: true });
  if (!many)
    return {
      once: async () => {
        await queue.add(QUEUE, { id: v7() }, { ...JOB, priority: 5 });
        return 1;
      },
      sideBySide: SIDE_BY_SIDE,
    };
  return {
    once: async () => {
      await queue.addBulk(Array.from({ length: MANY }, () => ({ name: QUEUE, data: { id: v7() }, opts: JOB })));
      return MANY;
    },
    sideBySide: BATCHES_SIDE_BY_SIDE,
  };
}

const WORKS: Record<string, () => Promise<Work>> = {
  async insert() {
    await makeTable();
    const text = 'insert into rows (id, user_id, input) values ($1, $2, $3) returning id';
    const insert = async () => {
      await pool.query({ name: 'insert', text, values: row() });
      return 1;
    };
    return { once: insert, sideBySide: SIDE_BY_SIDE };
  },
  async 'insert-many'() {
    await makeTable();
    const text = `insert into rows (id, user_id, input)
      select * from unnest($1::uuid[], $2::uuid[], $3::jsonb[]) returning id`;
    const insert = async () => {
      const rows = Array.from({ length: MANY }, row);
      await pool.query({ name: 'insert-many', text, values: [0, 1, 2].map((n) => rows.map((one) => one[n])) });
      return MANY;
    };
    return { once: insert, sideBySide: BATCHES_SIDE_BY_SIDE };
  },
  add: () => adds(false),
  'add-bulk': () => adds(true),
};

/** How long it goes on until it is quick. */
const WARM_MS = 500;

async function repeat({ once: act, sideBySide }: Work, ms: number): Promise<{ done: number; took: number }> {
  const began = performance.now();
  let done = 0;
  const one = async () => {
    while (performance.now() < began + ms) {
      // Not added to what `done` was before the others went on.
      const more = await act();
      done += more;
    }
  };
  await Promise.all(Array.from({ length: sideBySide }, one));
  return { done, took: (performance.now() - began) / 1000 };
}

/** Works off what was put into the queue before. */
async function workOff(): Promise<void> {
  const fill = await adds(true);
  await repeat(fill, Number(seconds) * 1000);
  let done = 0;
  process.send?.({ warm: true });
  await once(process, 'message');
  const began = performance.now();
  openWorker(async () => void done++, SIDE_BY_SIDE);
  await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000));
  process.send?.({ done, took: (performance.now() - began) / 1000 });
}

if (!process.env.REDIS_URL) await migrate();
if (verb === 'work') await workOff();
else {
  const work = await (WORKS[verb] as () => Promise<Work>)();
  await repeat(work, WARM_MS);
  process.send?.({ warm: true });
  await once(process, 'message');
  process.send?.(await repeat(work, Number(seconds) * 1000));
}
