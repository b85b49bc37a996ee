import { sql } from 'kysely';
import type { Lane } from '../../tasks/lanes.ts';
import type { Db } from '../connect.ts';

/**
 * Whether tasks run that name this model, or, in lanes where it is the default, none at all, or that work with a collection of
 * it: one that is not there yet is made for the default. What a task with another name gets in its place is not known here.
 * @param model with its tag
 */
export async function hasRunning(db: Db, model: string, defaultIn: Lane[]): Promise<boolean> {
  const names = model.endsWith(':latest') ? [model, model.slice(0, -':latest'.length)] : [model];
  const { rows } = await sql`
    select 1 from tasks t
    left join collections c on c.user_id = t.user_id and c.name = t.input ->> 'collection' and c.removed_at is null
    where t.status in ('running', 'cancelling') and (
      (t.lane in ('llm', 'embed') and (t.input ->> 'model' = any(${names}::text[])
        or (t.lane = any(${defaultIn}::text[]) and t.input ->> 'model' is null)))
      or (t.type in ('vector.upsert', 'vector.search', 'document.ingest', 'rag.answer')
        and (c.embedding_model = any(${names}::text[]) or (c.id is null and 'embed' = any(${defaultIn}::text[])))))
    limit 1`.execute(db);
  return rows.length > 0;
}
