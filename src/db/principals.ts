import { sql } from 'kysely';
import type { Db } from './connect.ts';
import type { Role } from './schema.ts';

/**
 * The channel on which processes hear what they must not rely on any more: `gone <id>` for a session, an API key or a user
 * that was ended or changed, `keys` when the signing keys changed. Triggers and statements of the database say it.
 */
export const IDENTITY_CHANNEL = 'sutazai_identity';

/** A session or an API key that is good, and its user as that is now. */
export interface Standing {
  id: string;
  user_id: string;
  username: string;
  role: Role;
  expires_at: Date | null;
}

/** Looks sessions and API keys up by id. One that is revoked, over, or of a user who is switched off is not among the answers. */
export async function findStandings(db: Db, ids: string[]): Promise<Map<string, Standing>> {
  const { rows } = await sql<Standing>`
    select c.id, u.id as user_id, u.username, u.role, c.expires_at
    from (
      select id, user_id, expires_at, revoked_at from user_sessions where id = any(${ids}::uuid[])
      union all
      select id, user_id, expires_at, revoked_at from api_keys where id = any(${ids}::uuid[])
    ) c join users u on u.id = c.user_id
    where c.revoked_at is null and (c.expires_at is null or c.expires_at > now()) and u.is_active`.execute(db);
  return new Map(rows.map((row) => [row.id, row]));
}
