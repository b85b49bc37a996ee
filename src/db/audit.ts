import { type Selectable, sql } from 'kysely';
import type { Db } from './connect.ts';
import { CLOCKS_DIFFER_MS, firstIdAt, newId, shift } from './ids.ts';
import { pageOf } from './page.ts';
import type { AuditTable } from './schema.ts';

export type AuditRow = Selectable<AuditTable>;

/** Who did what to which object, from where. `details` holds no secret and nothing of a payload. */
export type AuditEntry = Omit<AuditRow, 'id' | 'at'>;

/** Adds entries to the audit log; inside a transaction they stand or fall with the change that they tell of. */
export async function insertAudit(db: Db, entries: AuditEntry[]): Promise<void> {
  await db
    .insertInto('audit_log')
    .values(entries.map((entry) => ({ ...entry, id: newId(), details: JSON.stringify(entry.details) })))
    .execute();
}

export interface AuditFilter {
  actorId?: string;
  action?: string;
  outcome?: AuditRow['outcome'];
  objectType?: string;
  objectId?: string;
  after?: Date;
  before?: Date;
  /** Only entries older than this one. */
  cursor?: string;
  limit: number;
}

/** A page of entries, newest first; one more than `limit` is read to know whether there is a next page. */
export async function listAudit(db: Db, filter: AuditFilter): Promise<{ rows: AuditRow[]; next: string | null }> {
  let query = db
    .selectFrom('audit_log')
    .selectAll()
    .orderBy('id', 'desc')
    .limit(filter.limit + 1);
  const equal = {
    actor_id: filter.actorId,
    action: filter.action,
    outcome: filter.outcome,
    object_type: filter.objectType,
    object_id: filter.objectId,
  };
  for (const [column, value] of Object.entries(equal))
    if (value !== undefined) query = query.where(sql.ref(column), '=', value);
  // The ids carry the time too, by the clock of the API, and the index is on them: they bound what has to be looked at.
  if (filter.after)
    query = query.where('at', '>=', filter.after).where('id', '>', firstIdAt(shift(filter.after, -CLOCKS_DIFFER_MS)));
  if (filter.before)
    query = query.where('at', '<', filter.before).where('id', '<', firstIdAt(shift(filter.before, CLOCKS_DIFFER_MS)));
  if (filter.cursor) query = query.where('id', '<', filter.cursor);
  return pageOf(await query.execute(), filter.limit);
}
