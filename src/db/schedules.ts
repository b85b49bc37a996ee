import { type Insertable, type Selectable, sql, type Transaction, type Updateable } from 'kysely';
import type { Db } from './connect.ts';
import { pageOf } from './page.ts';
import type { Database, Role, ScheduleTable } from './schema.ts';

export type ScheduleRow = Selectable<ScheduleTable>;

/** The clock of the database, by which schedules tick. */
export async function readClock(db: Db): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db);
  return rows[0]!.now;
}

/** Stores a schedule unless its user has `max` of them already (0 is no limit); `undefined` then. */
export async function insertSchedule(
  trx: Transaction<Database>,
  schedule: Insertable<ScheduleTable>,
  max: number,
): Promise<ScheduleRow | undefined> {
  // Two requests of one user wait for each other here, so that they cannot both be the last that fits.
  await sql`select 1 from users where id = ${schedule.user_id} for no key update`.execute(trx);
  const { count } = await trx
    .selectFrom('schedules')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('user_id', '=', schedule.user_id)
    .executeTakeFirstOrThrow();
  if (max > 0 && Number(count) >= max) return undefined;
  return trx.insertInto('schedules').values(schedule).returningAll().executeTakeFirstOrThrow();
}

/** A page of the schedules of a user, newest first. */
export async function listSchedules(
  db: Db,
  userId: string,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ rows: ScheduleRow[]; next: string | null }> {
  let query = db
    .selectFrom('schedules')
    .selectAll()
    .where('user_id', '=', userId)
    .orderBy('id', 'desc')
    .limit(limit + 1);
  if (cursor) query = query.where('id', '<', cursor);
  return pageOf(await query.execute(), limit);
}

/** A schedule of this user; `undefined` where there is none. */
export async function findSchedule(db: Db, userId: string, id: string): Promise<ScheduleRow | undefined> {
  return db.selectFrom('schedules').selectAll().where('id', '=', id).where('user_id', '=', userId).executeTakeFirst();
}

/** The same, held until the transaction ends: it does not tick meanwhile. */
export async function holdSchedule(
  trx: Transaction<Database>,
  userId: string,
  id: string,
): Promise<ScheduleRow | undefined> {
  return trx
    .selectFrom('schedules')
    .selectAll()
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .forUpdate()
    .executeTakeFirst();
}

export async function updateSchedule(db: Db, id: string, change: Updateable<ScheduleTable>): Promise<ScheduleRow> {
  return db
    .updateTable('schedules')
    .set({ ...change, updated_at: sql<Date>`now()` })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Deletes a schedule; its tasks stay. */
export async function deleteSchedule(db: Db, userId: string, id: string): Promise<ScheduleRow | undefined> {
  return db
    .deleteFrom('schedules')
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .returningAll()
    .executeTakeFirst();
}

/** A schedule whose tick has come, and its owner; `now` is the clock of the database. */
export type DueSchedule = ScheduleRow & { is_active: boolean; role: Role; now: Date; next_run_at: Date };

/** How long a tick of a type that this process does not know is left to others, which may be newer. */
const UNKNOWN_MS = 30_000;

/**
 * Takes a schedule whose tick has come, for as long as the transaction lasts; what another process holds is passed over.
 * @param types the task types that are known here
 * @param without schedules that are to be left alone
 */
export async function takeDueSchedule(
  trx: Transaction<Database>,
  types: string[],
  without: string[],
): Promise<DueSchedule | undefined> {
  const { rows } = await sql<DueSchedule>`
    select s.*, u.is_active, u.role, now() as now from schedules s join users u on u.id = s.user_id
    where s.enabled and s.next_run_at <= now() and s.id <> all(${without}::uuid[])
      and (s.task ->> 'type' = any(${types}::text[]) or s.next_run_at < now() - ${UNKNOWN_MS}::int * interval '1 millisecond')
    order by s.next_run_at limit 1 for update of s skip locked`.execute(trx);
  return rows[0];
}

/** The time as the API shows it, for what is kept as JSON. */
const nowText = sql`to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/** Moves a schedule on, after a tick. */
export async function moveSchedule(
  trx: Transaction<Database>,
  id: string,
  {
    started,
    error,
    missed,
    next,
  }: {
    started?: { taskId: string; tick: Date };
    error?: { code: string; message: string };
    missed: number;
    next: Date | null;
  },
): Promise<void> {
  await sql`
    update schedules set next_run_at = ${next}, missed = least(missed::bigint + ${missed}::bigint, 2147483647),
      last_run_at = coalesce(${started?.tick ?? null}::timestamptz, last_run_at),
      last_task_id = coalesce(${started?.taskId ?? null}::uuid, last_task_id),
      last_error = case when ${error === undefined} then case when ${started === undefined} then last_error end
        else jsonb_build_object('code', ${error?.code ?? ''}::text, 'message', ${error?.message ?? ''}::text, 'at', ${nowText}) end
    where id = ${id}`.execute(trx);
}

/** Notes that a tick could not be done because of a fault of ours; it is tried again. */
export async function noteFailure(db: Db, id: string): Promise<void> {
  await sql`
    update schedules set last_error = jsonb_build_object('code', 'internal_error', 'message', 'Internal error', 'at', ${nowText})
    where id = ${id}`.execute(db);
}
