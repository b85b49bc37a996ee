import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { isHeld } from './claim.ts';
import { sayChanged } from './transition.ts';

/** What a part of a task came to, as the attempt that did it says. */
export interface NewMemo {
  id: string;
  attempt: number;
  name: string;
  kind: string;
  /** JSON text. */
  value: string;
  /** How long it took, in milliseconds. */
  ms: number;
}

/**
 * Keeps a memo. Fenced: an attempt that holds its task no longer stores nothing and answers `lost`; a name that was taken
 * keeps what it has and answers `taken`.
 */
export async function storeMemo(db: Db, memo: NewMemo): Promise<'stored' | 'taken' | 'lost'> {
  // Locked, so that nobody takes the task away between the look and the writing.
  const { rows } = await sql<{ stored: boolean }>`
    with mine as (
      select t.id, t.streamed from tasks t
      where t.id = ${memo.id} and t.attempt = ${memo.attempt} and ${isHeld} for no key update of t
    ), stored as (
      insert into task_memos (task_id, name, attempt, kind, value, started_at, ended_at)
      select id, ${memo.name}, ${memo.attempt}::int, ${memo.kind}, ${memo.value}::json,
        at - ${memo.ms}::float8 * interval '1 millisecond', at
      from mine, lateral (select clock_timestamp() as at) now
      on conflict (task_id, name) do nothing
      returning task_id
    )
    select exists (select from stored) as stored, ${sayChanged('mine')} from mine`.execute(db);
  return rows[0] === undefined ? 'lost' : rows[0].stored ? 'stored' : 'taken';
}

/** What a memo of a task holds; `undefined` where there is none. */
export async function findMemo(db: Db, taskId: string, name: string): Promise<{ value: unknown } | undefined> {
  return db
    .selectFrom('task_memos')
    .select('value')
    .where('task_id', '=', taskId)
    .where('name', '=', name)
    .executeTakeFirst();
}
