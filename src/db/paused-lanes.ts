import { type Selectable, sql } from 'kysely';
import type { Lane } from '../tasks/lanes.ts';
import type { Db } from './connect.ts';
import type { PausedLaneTable } from './schema-paused-lanes.ts';

const PAUSES_LOCK = 0x73757470;

export type PausedLane = Selectable<PausedLaneTable>;

/** The lanes that are to stand still. */
export async function listPausedLanes(db: Db): Promise<PausedLane[]> {
  return db.selectFrom('paused_lanes').selectAll().execute();
}

/** Has `work` act on the lanes that are to stand still as they are now, while nobody else does so, in any process. */
export async function withPausedLanes(db: Db, work: (lanes: PausedLane[]) => Promise<void>): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await sql`select pg_advisory_xact_lock(${PAUSES_LOCK})`.execute(trx);
    await work(await listPausedLanes(trx));
  });
}

/** Writes down that a lane is to stand still; answers whether it was not so before. */
export async function insertPausedLane(db: Db, lane: Lane, by: string): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await db
    .insertInto('paused_lanes')
    .values({ lane, paused_by: by })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return (numInsertedOrUpdatedRows ?? 0n) > 0n;
}

/** Writes down that a lane is to go on; answers whether it stood still. */
export async function deletePausedLane(db: Db, lane: Lane): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('paused_lanes').where('lane', '=', lane).executeTakeFirst();
  return numDeletedRows > 0n;
}
