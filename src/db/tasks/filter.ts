import { type RawBuilder, sql } from 'kysely';
import type { TaskFilter } from '../../tasks/task-filter.ts';
import { CLOCKS_DIFFER_MS, firstIdAt, shift } from '../ids.ts';

/** Whose tasks may be seen: those of one user, or all. */
export type Owner = { userId: string } | 'any';

/** Who may be meant by an owner, as a condition on a table with a `user_id`. */
export function owned(owner: Owner) {
  return owner === 'any' ? sql<boolean>`true` : sql<boolean>`user_id = ${owner.userId}`;
}

/** What an owner and a filter ask of a row of `tasks`, except its words. */
export function conditionOf(owner: Owner, filter: TaskFilter): RawBuilder<boolean> {
  const { status, type, tag, model, agent_id, batch_id, parent_id, schedule_id, error_code } = filter;
  const { created_after, created_before } = filter;
  const all = [
    owner !== 'any' && sql`tasks.user_id = ${owner.userId}`,
    status && sql`tasks.status = any(${status}::varchar[])`,
    type && sql`tasks.type = any(${type}::varchar[])`,
    tag !== undefined && sql`tasks.tags @> ${[tag]}::text[]`,
    model && sql`tasks.model = ${fullName(model)}`,
    agent_id && sql`tasks.agent_id = ${agent_id}`,
    batch_id && sql`tasks.batch_id = ${batch_id}`,
    parent_id && sql`tasks.parent_id = ${parent_id}`,
    schedule_id && sql`tasks.schedule_id = ${schedule_id}`,
    error_code && sql`tasks.error ->> 'code' = ${error_code}`,
    created_after && sql`tasks.created_at > ${created_after}`,
    created_before && sql`tasks.created_at < ${created_before}`,
    (created_after || created_before) && sql`tasks.id > ${idAfter(filter)} and tasks.id < ${idBefore(filter)}`,
  ];
  return sql<boolean>`(${sql.join([sql`true`, ...all.filter((one) => one !== false && one !== undefined && one !== '')], sql` and `)})`;
}

/** Ollama lists every model with its tag. */
export const fullName = (model: string) => (/:[^/]*$/.test(model) ? model : `${model}:latest`);

/** The ids carry the time too, by the clock of the API, and the indexes are on them: they bound what has to be looked at. */
export function idAfter({ created_after }: TaskFilter): string {
  return created_after ? firstIdAt(shift(created_after, -CLOCKS_DIFFER_MS)) : '00000000-0000-0000-0000-000000000000';
}

/** The first id that is too late. */
export function idBefore({ created_before }: TaskFilter, cursor?: string): string {
  const bounds = ['ffffffff-ffff-ffff-ffff-ffffffffffff'];
  if (created_before) bounds.push(firstIdAt(shift(created_before, CLOCKS_DIFFER_MS)));
  if (cursor) bounds.push(cursor.toLowerCase());
  return bounds.sort()[0] as string;
}

/** The last id that is not too late. */
export function idUpTo(filter: TaskFilter, cursor?: string): string {
  const before = BigInt(`0x${idBefore(filter, cursor).replaceAll('-', '')}`);
  const hex = (before > 0n ? before - 1n : 0n).toString(16).padStart(32, '0');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
