import { sql } from 'kysely';
import type { Db } from './connect.ts';

/** How many logins may fail one after the other, */
export const MAX_FAILURES = 10;
/** and how long it takes until they are forgotten, */
const FORGET_MINUTES = 15;
/** or, once there were that many, until one more may be tried: longer after each, */
const WAIT_MINUTES = 15;
/** up to four times as long. */
const MAX_DOUBLINGS = 2;

/** The row as it was; `f` is the table. */
const waits = sql`power(2, least(f.failures - ${MAX_FAILURES}::int, ${MAX_DOUBLINGS}::int)) * ${WAIT_MINUTES}::int * interval '1 minute'`;
const isForgotten = sql`f.last_at < now() - case when f.failures < ${MAX_FAILURES}::int then ${FORGET_MINUTES}::int * interval '1 minute' else interval '1 day' end`;

/** How many seconds a target has to be left alone; 0 where it may be tried. By the clock of the database. */
export async function findLoginWait(db: Db, target: Buffer): Promise<number> {
  const { rows } = await sql<{ wait: number }>`
    select ceil(extract(epoch from f.last_at + ${waits} - now()))::int as wait from login_failures f
    where target = ${target} and f.failures >= ${MAX_FAILURES}::int`.execute(db);
  return Math.max(0, rows[0]?.wait ?? 0);
}

/**
 * Takes one try at a target, which counts as failed until it is given back: those who try at the same moment cannot all have
 * the last one. Answers whether there was one.
 */
export async function takeLogin(db: Db, target: Buffer): Promise<boolean> {
  const { rows } = await sql`
    insert into login_failures as f (target, failures) values (${target}, 1)
    on conflict (target) do update set last_at = now(),
      failures = case when ${isForgotten} then 1 else f.failures + 1 end
    where f.failures < ${MAX_FAILURES}::int or f.last_at < now() - ${waits}
    returning 1`.execute(db);
  return rows.length > 0;
}

/** Gives a try back that did not fail; with `all` those that failed before it are forgotten too. */
export async function giveBackLogin(db: Db, target: Buffer, { all }: { all: boolean }): Promise<void> {
  if (all) await db.deleteFrom('login_failures').where('target', '=', target).execute();
  else
    await db
      .updateTable('login_failures')
      .set((row) => ({ failures: row('failures', '-', 1) }))
      .where('target', '=', target)
      .where('failures', '>', 0)
      .execute();
}
