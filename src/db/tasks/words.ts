import { type RawBuilder, sql } from 'kysely';
import type { TaskFilter } from '../../tasks/task-filter.ts';
import type { Db } from '../connect.ts';
import { type Owner, owned } from './filter.ts';
import { alone, merged, type TaskList, type TaskLists } from './task-list.ts';

/** So many words that begin in the same way have lists; more are soon found among any tasks, or sorted. */
const MOST_WORDS = 128;
/** As many characters of a word are stored. */
const WORD = 100;
/** Greater than every text that can go on after a prefix. */
const LAST = '\u{10ffff}';

/** What a filter asks of the words of a task. */
export interface Words {
  /** A list for the tag, and one for each word. */
  lists: TaskLists[];
  /** What holds for a row of `tasks` that has all the words. */
  holds: RawBuilder<unknown>;
  /** Of the last word, where very many begin with it: not to be walked unless it must be, because all of it is read and sorted. */
  sorted?: TaskLists;
}

/** Reads what words there are; `undefined` where one is nowhere to be found. A word may be a term of its own or, with a # before it, a tag. */
export async function findWords(db: Db, owner: Owner, { tag, q }: TaskFilter): Promise<Words | undefined> {
  const terms = tag === undefined ? [] : [[`#${tag}`]];
  if (q === undefined) return { lists: termLists(owner, terms), holds: sql`true` };
  const mine = owned(owner);
  const { rows } = await sql<{ words: string[]; begun: string[] }>`
    with recursive asked as materialized (
      select array(select left(word, ${WORD}::int) from unnest(task_words(${q})) as word) as words
    ), begun(term, last, n) as (
      select (select term from task_terms where ${mine} and term >= range.first and term < range.last order by term limit 1), range.last, 1
      from asked, lateral (select words[cardinality(words)]) as prefix(word),
        lateral (values (word, word || ${LAST}::text), ('#' || word, '#' || word || ${LAST}::text)) as range(first, last)
      union all
      select (select term from task_terms where ${mine} and term > begun.term and term < begun.last order by term limit 1), last, n + 1
      from begun where term is not null and n <= ${MOST_WORDS}::int
    )
    select words, array(select term from begun where term is not null) as begun from asked`.execute(db);
  const { words = [], begun = [] } = rows[0] ?? {};
  const prefix = words.at(-1);
  if (prefix === undefined || begun.length === 0) return undefined;
  const whole = [...new Set(words.slice(0, -1))].map((word) => [word, `#${word}`]);
  const holds = hasWords(whole, prefix);
  terms.push(...whole);
  if (begun.length > MOST_WORDS)
    return { lists: termLists(owner, terms), holds, sorted: alone(sortedList(owner, prefix)) };
  return { lists: termLists(owner, [begun, ...terms]), holds };
}

const begins = (term: RawBuilder<unknown>, prefix: string) =>
  sql`${term} >= ${prefix}::text and ${term} < ${prefix + LAST}::text`;

/** Whether a row of `tasks` has all the words; asked in the index, task by task, which Postgres may not turn into a join. */
function hasWords(whole: string[][], prefix: string) {
  const has = (such: RawBuilder<unknown>) =>
    sql`(select true from task_terms x where x.task_id = tasks.id and ${such} limit 1)`;
  const begun = [prefix, `#${prefix}`].map((one) => has(begins(sql`x.term`, one)));
  const all = whole.map((terms) => sql`coalesce(${sql.join(terms.map((term) => has(sql`x.term = ${term}`)))})`);
  return sql.join([...all, sql`coalesce(${sql.join(begun)})`], sql` and `);
}

/** Lists of which each is that of some terms together. All are planned as one. */
function termLists(owner: Owner, lists: string[][]): TaskLists[] {
  if (lists.length === 0) return [];
  const numbers = lists.flatMap((terms, n) => terms.map(() => n));
  const list = merged({
    of: sql`select term from unnest(${numbers}::int[], ${lists.flat()}::text[]) as given(n, term) where given.n = list.n`,
    entries: (within) => sql`
      select task_id as id from task_terms where ${owned(owner)} and term = one.term and ${within(sql`task_id`)}`,
    most: Math.max(...lists.map(({ length }) => length)),
    count: sql`list.count`,
  });
  const counts = lists.map(({ length }) => length);
  return [
    {
      count: lists.length,
      read: (within, limit) => sql`
        select array(${list(within, limit)}) as ids
        from unnest(${[...counts.keys()]}::int[], ${counts}::int[]) as list(n, count)`,
    },
  ];
}

/** A subquery of its own, so that Postgres reads these two ranges and nothing else. */
function sortedList(owner: Owner, prefix: string): TaskList {
  return (within, limit) => {
    const entries = (first: string) => sql`
      select task_id from task_terms where ${owned(owner)} and ${begins(sql`term`, first)} and ${within(sql`task_id`)}`;
    return sql`
      select distinct task_id as id from (${entries(prefix)} union all ${entries(`#${prefix}`)} offset 0) as entry
      order by task_id desc limit ${limit}`;
  };
}
