import { sql } from 'kysely';
import type { Db } from './connect.ts';
import { trimEmbeddings } from './embedding-cache.ts';
import { pruneFiles } from './files.ts';

/** How many rows of one table a call takes away at most, so that no statement holds many. */
const BATCH = 5_000;

/**
 * What is of no use any more. Sessions are remembered as long as `wasLoggedInFrom` looks back. Signing keys are not here: one
 * that was replaced must not come back where JWT_SECRET_KEY still holds it, and only their rows tell.
 */
const OVER = {
  user_sessions: sql`least(expires_at, revoked_at) < now() - interval '90 days'`,
  api_keys: sql`least(expires_at, revoked_at) < now() - interval '90 days'`,
  invitations: sql`coalesce(used_at, expires_at) < now() - interval '30 days'`,
  request_counts: sql`minute < extract(epoch from now()) / 60 - 10`,
  login_failures: sql`last_at < now() - interval '1 day'`,
  workers: sql`seen_at < now() - interval '1 hour'`,
  lane_minutes: sql`minute < extract(epoch from now()) / 60 - 1440`,
  // Those of a task go with it.
  deliveries: sql`task_id is null and created_at < now() - interval '90 days'`,
  webhook_endpoints: sql`deleted_at < now() - interval '90 days' and not exists (
    select from deliveries where endpoint_id = webhook_endpoints.id)`,
  agents: sql`deleted_at < now() - interval '90 days' and not exists (
    select from tasks where agent_id = agents.id)`,
  batches: sql`ended_at < now() - interval '90 days'`,
  embedding_cache: sql`used_at < now() - interval '30 days'`,
  agent_probes: sql`at < now() - interval '1 day'`,
  agent_calls: sql`at < now() - interval '1 day' and (ended_at is not null or not exists (
    select from tasks t where t.id = task_id and t.status in ('pending', 'running', 'cancelling')))`,
  // As long as a task may be there that was accepted before; ids are given by the clocks of several machines.
  removed_collections: sql`removed_at < now() - interval '1 day' and removed_at < interval '-1 day' + coalesce((
    select t.created_at from tasks t where t.user_id = removed_collections.user_id order by t.id limit 1), now())`,
  token_usage: sql`day < (now() at time zone 'utc')::date - 90`,
};

/** How many embeddings are remembered at most, about; of one more than that the longest unused goes. */
const EMBEDDINGS = 100_000;

/** Takes away what nobody asks for any more, at most `limit` rows of each table. Several processes may do it at once. */
export async function prune(db: Db, limit = BATCH, embeddings = EMBEDDINGS): Promise<void> {
  for (const [table, isOver] of Object.entries(OVER))
    await sql`delete from ${sql.table(table)} where ctid = any(array(
      select ctid from ${sql.table(table)} where ${isOver} limit ${limit} for update skip locked))`.execute(db);
  // Whoever embeds very much would otherwise fill it quicker than this empties it.
  while ((await trimEmbeddings(db, embeddings, limit)) === limit);
  await pruneFiles(db);
}
