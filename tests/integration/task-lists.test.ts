import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/db/ids.ts';
import { STATUSES, type Status } from '../../src/db/schema.ts';
import { acceptTasks } from '../../src/db/tasks/accept.ts';
import { listTasks } from '../../src/db/tasks/list.ts';
import type { TaskFilter } from '../../src/tasks/task-filter.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { newTask, storeUser } from '../support/tasks.ts';

const COUNT = 4_000;
const HOUR = 3_600_000;

/** Numbers that look random and are the same in each run. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
}
const random = createRandom(7);
const pick = <T>(all: readonly T[]) => all[random(all.length)] as T;
const some = <T>(all: readonly T[], most: number) => [
  ...new Set(Array.from({ length: random(most + 1) }, () => pick(all))),
];

const TITLES = [
  null,
  'Weekly report',
  'weekly REPORT for Ärger & Co.',
  'reporting',
  'a b c',
  'Order 4711',
  'order #12',
];
const TAGS = ['nightly', 'Nightly', 'run:2024-11', 'rare tag', 'report', 'größe', '#1'];
const TYPES = ['echo', 'chat', 'embed', 'http.request'];
const MODELS = [null, 'tinyllama:latest', 'big:7b'];
const CODES = [null, 'poison', 'timeout'];

interface Row {
  id: string;
  user_id: string;
  status: Status;
  type: string;
  title: string | null;
  tags: string[];
  model: string | null;
  code: string | null;
  batch_id: string | null;
  created_at: Date;
}

/** What the search says that it does, said once more in another way. */
function hasWords({ title, tags }: Row, q: string): boolean {
  const wordsOf = (text: string) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const own = [...wordsOf(title ?? ''), ...tags.flatMap(wordsOf)];
  const asked = wordsOf(q);
  return asked.every((word, n) => own.some((one) => one === word || (n === asked.length - 1 && one.startsWith(word))));
}

function fits(row: Row, filter: TaskFilter): boolean {
  const { status, type, tag, model, error_code, batch_id, q, created_after, created_before } = filter;
  return (
    (!status || status.includes(row.status)) &&
    (!type || type.includes(row.type)) &&
    (!tag || row.tags.includes(tag)) &&
    (!model || row.model === (model.includes(':') ? model : `${model}:latest`)) &&
    (!error_code || row.code === error_code) &&
    (!batch_id || row.batch_id === batch_id) &&
    (!q || hasWords(row, q)) &&
    (!created_after || row.created_at > created_after) &&
    (!created_before || row.created_at < created_before)
  );
}

describe('lists of tasks', () => {
  let test: TestDatabase;
  let users: string[];
  let rows: Row[];
  const batches = [null, newId(), newId()];
  beforeAll(async () => {
    test = await createTestDatabase();
    users = await Promise.all([1, 2, 3].map(() => storeUser(test.db)));
    const began = Date.now() - COUNT * 10_000;
    const tasks = Array.from({ length: COUNT }, (_, n) => {
      // Some tags and types exist at some times only, and one user has next to nothing.
      const early = n < COUNT / 2;
      return newTask(n % 400 === 0 ? users[2]! : users[n % 2]!, {
        id: idAt(began + n * 10_000),
        type: pick(early ? TYPES : TYPES.slice(0, 2)),
        title: pick(TITLES),
        tags: some(early ? TAGS : TAGS.slice(0, 4), 3),
        batch_id: pick(batches),
      });
    });
    for (let at = 0; at < COUNT; at += 500) await acceptTasks(test.db, tasks.slice(at, at + 500));
    rows = tasks.map(({ id, user_id, type, title, tags, batch_id }, n) => {
      const status = n % 50 === 0 ? 'expired' : pick(STATUSES.slice(0, n < COUNT / 4 ? 8 : 6));
      const created_at = new Date(began + n * 10_000);
      return { id, user_id, type, title, tags, batch_id, status, model: pick(MODELS), code: pick(CODES), created_at };
    });
    await sql`
      update tasks set status = r.status, model = r.model, created_at = r.created_at,
        error = case when r.code is not null then jsonb_build_object('code', r.code) end,
        lease_until = case r.status when 'running' then now() end,
        completed_at = case when r.status in ('completed', 'failed', 'cancelled', 'expired') then now() end
      from json_to_recordset(${JSON.stringify(rows)}::json)
        as r(id uuid, status text, model text, code text, created_at timestamptz) where tasks.id = r.id`.execute(
      test.db,
    );
    await sql`analyze tasks, task_terms`.execute(test.db);
  });
  afterAll(() => test.close());

  async function readAll(owner: Parameters<typeof listTasks>[1], filter: TaskFilter, limit: number): Promise<string[]> {
    const ids: string[] = [];
    for (let cursor: string | undefined; ; ) {
      const page = await listTasks(test.db, owner, filter, { limit, cursor });
      ids.push(...page.rows.map(({ id }) => id));
      if (page.next === null) return ids;
      expect(page.rows).toHaveLength(limit);
      cursor = page.next;
    }
  }

  const filters = Array.from({ length: 160 }, (): TaskFilter => {
    const day = (n: number) => new Date(Date.now() - n * HOUR);
    const all: TaskFilter[] = [
      { status: some([...STATUSES, ...STATUSES], 3) },
      { type: some([...TYPES, 'nothing'], 2) },
      { tag: pick([...TAGS, 'nothing', 'REPORT']) },
      { model: pick(['tinyllama', 'big:7b', 'nothing']) },
      { error_code: pick(['poison', 'timeout', 'nothing']) },
      { batch_id: pick([...batches.slice(1), newId()]) as string },
      {
        q: pick([
          'report',
          'rep',
          'weekly rep',
          'REPORT weekly',
          'ärg',
          'GRÖSSE',
          'größ',
          '4',
          '47',
          'b',
          'run',
          '2024 nightly',
        ])!,
      },
      { created_after: day(random(14)) },
      { created_before: day(random(14)) },
    ];
    const chosen = some(all, 3);
    const filter: TaskFilter = Object.assign({}, ...chosen);
    if (filter.status?.length === 0) delete filter.status;
    return filter;
  });

  it.each(filters)('hold for %j what a look at every task finds, in the order of ids', async (filter) => {
    for (const owner of ['any', { userId: users[0]! }, { userId: users[2]! }] as const) {
      const mine = owner === 'any' ? rows : rows.filter(({ user_id }) => user_id === owner.userId);
      const wanted = mine.filter((row) => fits(row, filter)).map(({ id }) => id);
      expect(await readAll(owner, filter, 97)).toEqual(wanted.reverse());
    }
  });

  it('find words that begin in more ways than are merged', async () => {
    const userId = await storeUser(test.db);
    // Of the newest, every second one has no such word.
    const titles = Array.from({ length: 12_000 }, (_, n) =>
      n % 2 === 0 && n >= 11_000 ? 'Invoice' : `Invoice 9${n % 1_000} ${n < 300 ? 'early' : ''}`,
    );
    for (let at = 0; at < titles.length; at += 1_000)
      await acceptTasks(
        test.db,
        titles.slice(at, at + 1_000).map((title) => newTask(userId, { title })),
      );
    const found = async (q: string, more: TaskFilter = {}) => (await readAll({ userId }, { ...more, q }, 200)).length;
    // Less than are sorted, and more.
    expect([await found('early 9'), await found('91'), await found('9')]).toEqual([300, 111 * 12 - 55, 11_500]);
    // Beside a list that all are in, and one whose few tasks lie behind what is looked at before anything is sorted.
    await sql`update tasks set model = 'm:latest' where id in (
      select id from tasks where user_id = ${userId} and title like '%early%' order by id limit 200)`.execute(test.db);
    expect(await found('9', { status: ['pending'], created_after: new Date(0) })).toBe(11_500);
    expect([await found('9', { model: 'm' }), await found('early 9', { model: 'm' })]).toEqual([200, 200]);
  });

  it('fill each page where filters choose many tasks each and hardly any together', async () => {
    const userId = await storeUser(test.db);
    // Each filter alone chooses every other task; both choose the oldest, and some that are far apart.
    const both = (n: number) => n === 0 || n % 700 === 350;
    const words = (n: number) => (both(n) ? ['even', 'odd'] : [n % 2 === 0 ? 'even' : 'odd']);
    const stored = await acceptTasks(
      test.db,
      Array.from({ length: 2_400 }, (_, n) => newTask(userId, { title: words(n).join(' '), tags: words(n) })),
    );
    const wanted = stored.filter((_, n) => both(n)).map(({ id }) => id);
    expect(await readAll({ userId }, { tag: 'even', q: 'odd' }, 2)).toEqual(wanted.toReversed());
    expect(await readAll({ userId }, { tag: 'even', q: 'odd', status: ['pending'] }, 50)).toEqual(wanted.toReversed());
    expect(await readAll({ userId }, { tag: 'even', q: 'odd', status: ['failed'] }, 50)).toEqual([]);
  });

  it('forget the words of a task that is deleted, and follow its title and tags', async () => {
    const userId = await storeUser(test.db);
    const [task] = await acceptTasks(test.db, [newTask(userId, { title: 'Old words', tags: ['t1'] })]);
    const found = async (q: string) => (await listTasks(test.db, { userId }, { q }, { limit: 5 })).rows.length;
    expect([await found('old'), await found('t1'), await found('new')]).toEqual([1, 1, 0]);
    await test.db.updateTable('tasks').set({ title: 'New words', tags: [] }).where('id', '=', task!.id).execute();
    expect([await found('old'), await found('t1'), await found('new')]).toEqual([0, 0, 1]);
    await test.db.deleteFrom('tasks').where('id', '=', task!.id).execute();
    const { rows: left } = await sql`select from task_terms where user_id = ${userId}`.execute(test.db);
    expect(left).toEqual([]);
  });
});

/** An id that was made at this time. */
function idAt(time: number): string {
  const hex = time.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}${newId().slice(13)}`;
}
