import { type RawBuilder, sql } from 'kysely';
import type { TaskFilter } from '../../tasks/task-filter.ts';
import type { Db } from '../connect.ts';
import { type Owner, owned } from './filter.ts';

/** The newest ids of tasks for which a filter holds, within bounds, newest first, as a query with one column. */
export type TaskList = (within: { after: string; before: string }, limit: number) => RawBuilder<unknown>;

/** So many words that begin in the same way are merged; the entries of more of them are sorted, up to a number. */
const MERGED = 200;
const SORTED = 10_000;
/** As many characters of a word are stored. */
const WORD = 100;
/** Greater than every text that can go on after a prefix. */
const LAST = '\u{10ffff}';

/**
 * Lists for a tag and for each word that is searched, without what is so common that it is soon found among any tasks;
 * `undefined` where a word is nowhere to be found. A word may be a term of its own or, with a # before it, a tag.
 */
export async function wordLists(db: Db, owner: Owner, { tag, q }: TaskFilter): Promise<TaskList[] | undefined> {
  const lists: TaskList[] = tag === undefined ? [] : [merged(owner, [`#${tag}`])];
  if (q === undefined) return lists;
  const { rows } = await sql<{ words: string[] }>`
    select array(select left(word, ${WORD}::int) from unnest(task_words(${q})) as word) as words`.execute(db);
  const words = rows[0]?.words ?? [];
  const last = words.pop();
  if (last === undefined) return undefined;
  const begun = await prefixList(db, owner, last);
  const whole = [...new Set(words)].map((word) => merged(owner, [word, `#${word}`]));
  return begun && [...lists, ...begun, ...whole];
}

/** The lists of some terms as one. */
function merged(owner: Owner, terms: string[]): TaskList {
  return ({ after, before }, limit) => sql`
    select distinct entry.task_id from unnest(${terms}::text[]) as given(term) cross join lateral (
      select task_id from task_terms where ${owned(owner)} and term = given.term
        and task_id > ${after} and task_id < ${before}
      order by task_id desc limit ${limit}
    ) as entry order by entry.task_id desc limit ${limit}`;
}

/** What begins with a word: the lists of all such words, or where these are too many, their sorted entries; no list of very many. */
async function prefixList(db: Db, owner: Owner, prefix: string): Promise<TaskList[] | undefined> {
  const mine = owned(owner);
  const ranges = sql`(values (${prefix}::text, ${prefix + LAST}::text),
    (${`#${prefix}`}, ${`#${prefix}${LAST}`})) as range(first, last)`;
  const { rows } = await sql<{ term: string }>`
    with recursive begun(term, last, n) as (
      select (select min(term) from task_terms where ${mine} and term >= range.first and term < range.last), range.last, 1
      from ${ranges}
      union all
      select (select min(term) from task_terms where ${mine} and term > begun.term and term < begun.last), last, n + 1
      from begun where term is not null and n <= ${MERGED}::int
    )
    select term from begun where term is not null`.execute(db);
  const terms = rows.map(({ term }) => term);
  if (terms.length === 0) return undefined;
  if (terms.length <= MERGED) return [merged(owner, terms)];

  // A subquery of its own, so that Postgres reads these two ranges and nothing else.
  const entries = (more: RawBuilder<unknown>) => sql`(
    select task_id from task_terms where ${mine} and term >= ${prefix}::text and term < ${prefix + LAST}::text and ${more}
    union all
    select task_id from task_terms where ${mine} and term >= ${`#${prefix}`}::text and term < ${`#${prefix}${LAST}`}::text and ${more}
    offset 0) as entry`;
  const { rows: counted } = await sql<{ n: number }>`
    select count(*)::int as n from (select from ${entries(sql`true`)} limit ${SORTED}::int) as one`.execute(db);
  if ((counted[0]?.n ?? 0) >= SORTED) return [];
  return [
    ({ after, before }, limit) => sql`
      select distinct task_id from ${entries(sql`task_id > ${after} and task_id < ${before}`)}
      order by task_id desc limit ${limit}`,
  ];
}
