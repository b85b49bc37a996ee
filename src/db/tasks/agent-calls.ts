import { sql } from 'kysely';
import type { Db } from '../connect.ts';
import { isHeld } from './claim.ts';

/** An attempt that runs. */
interface Attempt {
  id: string;
  attempt: number;
}

/** Notes which agent works on a task, as far as the attempt is the present one. */
export async function setAgent(db: Db, { id, attempt }: Attempt, agentId: string): Promise<void> {
  await sql`update tasks set agent_id = ${agentId}
    where id = ${id} and attempt = ${attempt} and status = 'running' and agent_id is distinct from ${agentId}`.execute(
    db,
  );
}

/** Those of the memos of a task that are there, by name. */
export async function findMemos(db: Db, taskId: string, names: string[]): Promise<Map<string, unknown>> {
  const { rows } = await sql<{ name: string; value: unknown }>`
    select name, value from task_memos where task_id = ${taskId} and name = any(${names}::text[])`.execute(db);
  return new Map(rows.map(({ name, value }) => [name, value]));
}

/**
 * Notes how far a call is, in the place of what was noted of it before. @returns whether the attempt is still the present one
 * @param value JSON
 */
export async function writeMark(db: Db, { id, attempt }: Attempt, name: string, value: unknown): Promise<boolean> {
  const { rows } = await sql`
    insert into task_memos (task_id, name, attempt, kind, value, started_at)
    select t.id, ${name}, t.attempt, 'call', ${JSON.stringify(value)}::json, clock_timestamp()
    from tasks t where t.id = ${id} and t.attempt = ${attempt} and ${isHeld} for no key update of t
    on conflict (task_id, name) do update set attempt = excluded.attempt, value = excluded.value
    returning 1`.execute(db);
  return rows.length > 0;
}

/** Forgets a note: the call has not been made after all. */
export async function dropMark(db: Db, { id, attempt }: Attempt, name: string): Promise<void> {
  await sql`delete from task_memos m using tasks t
    where m.task_id = ${id} and m.name = ${name} and t.id = m.task_id and t.attempt = ${attempt}`.execute(db);
}
