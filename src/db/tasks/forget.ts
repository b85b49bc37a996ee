import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { type Owner, owned } from './filter.ts';
import { endedBefore } from './retention.ts';
import { isReleased } from './stop.ts';

/** What stands in place of the message of an error; its code stays. */
const DELETED_MESSAGE = 'The message was deleted with the payload.';

const withoutMessage = (error: string) =>
  sql`jsonb_set(${sql.ref(error)}, '{message}', to_jsonb(${DELETED_MESSAGE}::text))`;

/**
 * Takes away what their user wrote and what came of it, of those of the tasks that have ended, and are no part of one that has
 * not; how they ran, and with which error codes, stays. Messages to webhooks that are still on the way go out without it. Answers the ids of those that changed.
 * @param days only of those that ended before so many days
 */
export async function forgetPayloads(db: Db, owner: Owner, ids: string[], days?: number): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    with those as (
      select id from tasks t where id = any(${ids}::uuid[]) and ${owned(owner)} and completed_at is not null
        and payload_deleted_at is null and ${isReleased} ${days === undefined ? sql`` : sql`and ${endedBefore(days)}`}
      order by id for update
    ), moved as (
      update tasks t set title = null, input = 'null', output = null, progress = null, metadata = '{}', tags = '{}',
        webhook = null, concurrency_key = null, held_by = null, error = ${withoutMessage('t.error')}, payload_deleted_at = now()
      from those where t.id = those.id
      returning t.id
    ), ledger as (
      update attempts a set error = ${withoutMessage('a.error')} from moved
      where a.task_id = moved.id and a.error is not null
    ), memos as (
      delete from task_memos using moved where task_id = moved.id
    ), lines as (
      delete from task_events e using moved where e.task_id = moved.id and e.type in ('progress', 'log')
    ), earlier as (
      update task_events e set data = jsonb_set(e.data, '{error,message}', to_jsonb(${DELETED_MESSAGE}::text)) from moved
      where e.task_id = moved.id and e.type = 'retried' and e.data -> 'error' ->> 'message' is not null
    ), answers as (
      update delivery_attempts a set response = null from deliveries d join moved on moved.id = d.task_id
      where a.delivery_id = d.id and a.response is not null
    ), words as (
      update deliveries d set data = null from moved where d.task_id = moved.id and d.data is not null
    )
    select id from moved`.execute(db);
  return rows.map(({ id }) => id);
}
