import type { Kysely } from 'kysely';
import type pg from 'pg';
import { explainTask } from '../../../src/api/explain.ts';
import type { Database } from '../../../src/db/schema.ts';
import type { Owner } from '../../../src/db/tasks/filter.ts';
import { listTasks } from '../../../src/db/tasks/list.ts';
import { findTask, type TaskRow } from '../../../src/db/tasks/read.ts';
import { findPlace } from '../../../src/queues/place.ts';
import type { TaskFilter } from '../../../src/tasks/task-filter.ts';
import type { UserName } from './fill.ts';

/** One kind of read: what it does once, in a few words. */
export interface Case {
  name: string;
  run(db: Kysely<Database>): Promise<unknown>;
}

/** What is asked for, and how often it is there. */
const FILTERS: Record<string, TaskFilter> = {
  'no filter': {},
  'status=failed': { status: ['failed'] },
  'status=pending,running': { status: ['pending', 'running'] },
  'type=chat': { type: ['chat'] },
  'type=vector.search (rare)': { type: ['vector.search'] },
  'type=nothing (none)': { type: ['nothing'] },
  'type=vector.upsert, status=failed (none)': { type: ['vector.upsert'], status: ['failed'] },
  'tag=nightly': { tag: 'nightly' },
  'tag=run-3 (only long ago)': { tag: 'run-3' },
  'tag=rare': { tag: 'rare' },
  'tag=nothing (none)': { tag: 'nothing' },
  'tag=nightly, status=failed': { tag: 'nightly', status: ['failed'] },
  'tag=customer-77, type=embed': { tag: 'customer-77', type: ['embed'] },
  'tag=run-3, status=pending (none)': { tag: 'run-3', status: ['pending'] },
  'tag=rare, tag in q': { tag: 'rare', q: 'nightly' },
  'model=llama3:8b': { model: 'llama3:8b' },
  'model=qwen:0.5b (rare)': { model: 'qwen:0.5b' },
  'model=llama3:8b, tag=customer-8': { model: 'llama3:8b', tag: 'customer-8' },
  'status=failed, error_code=poison (rare)': { status: ['failed'], error_code: 'poison' },
  'status=failed, error_code=timeout': { status: ['failed'], error_code: 'timeout' },
  'q=report': { q: 'report' },
  'q=customer 4711': { q: 'customer 4711' },
  'q=report week 12': { q: 'report week 12' },
  'q=4 (thousands of words)': { q: '4' },
  'q=nightl': { q: 'nightl' },
  'q=nothing (none)': { q: 'nothing' },
  'q=customer 9999 (none)': { q: 'customer 9999' },
  'q=report, type=vector.search': { q: 'report', type: ['vector.search'] },
  'created within a day, tag=nightly': { tag: 'nightly', created_after: new Date(Date.now() - 86_400_000) },
  'created before 20 days, status=failed': {
    status: ['failed'],
    created_before: new Date(Date.now() - 20 * 86_400_000),
  },
  'tag=run-3, status=failed, type=echo (never together)': { tag: 'run-3', status: ['failed'], type: ['echo'] },
  'batch_id (none)': { batch_id: '00000000-0000-4000-8000-000000000000' },
};

const LINE = "status = 'pending' and lane = 'llm' and priority = 5";
const WAITING = `${LINE} order by ready_at`;
/** Tasks, and where they are found. */
const TASKS: Record<string, string> = {
  'next of its queue': WAITING,
  'the middle of its queue': `${WAITING} offset (select count(*) / 2 from tasks where ${LINE})`,
  'the last of its queue': `${WAITING} desc`,
  'ended long ago': "status = 'completed' order by id",
};

/** What the cases are called, known before there is a database. */
export const CASE_NAMES = [
  ...Object.keys(FILTERS).map((name) => `list ${name}`),
  ...Object.keys(TASKS).flatMap((name) => [`read with place, ${name}`, `explain, ${name}`]),
];

/** Every filter for a user with most of the tasks, for a small one, and for whoever may see all; the first pages and some far behind. */
export function listCases(users: Record<UserName, string>): Case[] {
  const owners: Record<string, Owner> = { big: { userId: users.big }, small: { userId: users.small }, all: 'any' };
  return Object.entries(FILTERS).map(([name, filter]) => {
    const all = Object.values(owners);
    let turn = 0;
    let cursor: string | undefined;
    return {
      name: `list ${name}`,
      // One page, as a request is: in turns the first one and the one after it.
      async run(db) {
        const owner = all[Math.floor(turn / 2) % all.length] as Owner;
        const after = turn++ % 2 === 1 ? cursor : undefined;
        const { next } = await listTasks(db, owner, filter, { limit: 50, cursor: after });
        cursor = next ?? undefined;
      },
    };
  });
}

/** Reads of one task that waits: the next of its queue, one in the middle, the last, and one that has ended. */
export async function taskCases(pool: pg.Pool): Promise<Case[]> {
  const limits = { waiting_tasks: 0, tokens_per_day: 0 };
  const options = { agingMs: 600_000, everybody: 1_000, limits };
  const cases = Object.entries(TASKS).map(async ([name, where]): Promise<Case[]> => {
    const { rows } = await pool.query<{ id: string }>(`select id from tasks where ${where} limit 1`);
    const read = async (db: Kysely<Database>) => (await findTask(db, 'any', rows[0]?.id ?? '')) as TaskRow;
    return [
      { name: `read with place, ${name}`, run: async (db) => findPlace(db, await read(db), options.agingMs) },
      { name: `explain, ${name}`, run: async (db) => explainTask(db, await read(db), options) },
    ];
  });
  return (await Promise.all(cases)).flat();
}
