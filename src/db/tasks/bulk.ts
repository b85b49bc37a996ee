import { sql } from 'kysely';
import type { TaskFilter } from '../../tasks/task-filter.ts';
import type { BulkAction } from '../../tasks/tools.ts';
import type { Db } from '../connect.ts';
import { ENDED, type Role, type Status } from '../schema.ts';
import type { Owner } from './filter.ts';
import { findTasks } from './list.ts';

/** Who asked for a bulk, and what an API key that it was asked with may do, as that is now. */
export interface Submitter {
  username: string;
  role: Role;
  scopes: string[] | null;
  task_types: readonly string[] | null;
  priority_ceiling: number | null;
}

/** The submitter; `undefined` where the account is switched off, or the key is not good any more. */
export async function findSubmitter(db: Db, userId: string, keyId: string | null): Promise<Submitter | undefined> {
  const { rows } = await sql<Submitter>`
    select u.username, u.role, k.scopes, k.task_types, k.priority_ceiling
    from users u left join api_keys k on k.id = ${keyId}::uuid and k.user_id = u.id
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
    where u.id = ${userId} and u.is_active and (${keyId}::uuid is null or k.id is not null)`.execute(db);
  return rows[0];
}

/** The tasks that an action is to be done to. */
export interface Selection {
  action: BulkAction;
  owner: Owner;
  filter: TaskFilter;
  /** Only tasks with an id before this one. */
  before: string;
  /** Only those that had ended when this task was accepted; otherwise those that have ended now. */
  bulk?: string;
  /** What an API key may run again. */
  may?: Pick<Submitter, 'task_types' | 'priority_ceiling'>;
}

/** The states that an action leaves. */
const FROM: Record<BulkAction, readonly Status[]> = {
  cancel: ['scheduled', 'pending', 'running'],
  retry: ENDED,
  delete: ENDED,
};

/** Bulks are left out: one that cancels or repeats another would be hard to follow. */
function conditionOf({ action, bulk, may }: Selection) {
  const then = bulk ? sql`(select b.created_at from tasks b where b.id = ${bulk})` : sql`now()`;
  const all = [
    sql`tasks.type <> 'task.bulk'`,
    action !== 'cancel' && sql`tasks.completed_at <= ${then}`,
    action === 'delete' && sql`tasks.payload_deleted_at is null`,
    action === 'retry' && may?.task_types && sql`tasks.type = any(${may.task_types}::text[])`,
    action === 'retry' && may?.priority_ceiling && sql`tasks.priority >= ${may.priority_ceiling}`,
  ];
  return sql<boolean>`(${sql.join(all.filter(Boolean), sql` and `)})`;
}

/** The newest tasks of a selection. */
export async function listChosen(
  db: Db,
  selection: Selection,
  limit: number,
): Promise<Array<{ id: string; user_id: string }>> {
  const { action, owner, filter, before } = selection;
  const status = FROM[action].filter((one) => filter.status?.includes(one) ?? true);
  if (status.length === 0) return [];
  const wanted = { limit, cursor: before, columns: sql`tasks.id, tasks.user_id`, also: conditionOf(selection) };
  return findTasks(db, owner, { ...filter, status }, wanted);
}

/** How many tasks there are in a selection; `undefined` where they are more than `upTo`. */
export async function countChosen(db: Db, selection: Selection, upTo: number): Promise<number | undefined> {
  const { length } = await listChosen(db, selection, upTo + 1);
  return length > upTo ? undefined : length;
}
