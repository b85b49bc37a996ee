import { createBatch } from '../../db/batch.ts';
import type { Db } from '../../db/connect.ts';
import type { Notifications } from '../../db/notify.ts';
import { findStandings, IDENTITY_CHANNEL, type Standing } from '../../db/principals.ts';
import { ROLE_PERMISSIONS } from '../policy.ts';
import type { Principal } from '../route.ts';
import { createRemembered } from './remembered.ts';
import type { TokenKind, Tokens } from './tokens.ts';

/** Finds out who is asking. */
export interface Principals {
  /** The principal of a token, or `undefined` for anything but a good token of a session that lives. */
  ofToken(token: string, kind?: TokenKind): Promise<Principal | undefined>;
  /** Relies no longer on what hangs on this id; other processes hear of it from the database. */
  forget(id: string): void;
  close(): void;
}

interface Options {
  db: Db;
  tokens: Tokens;
  notifications: Notifications;
}

const MAX_LOOKUPS_A_STATEMENT = 500;

/**
 * Makes it. Each process looks a credential up once, together with those of other requests, and remembers it until it
 * expires or the database says that it is gone. While nothing can be heard from the database, it is asked each time; where
 * it does not answer either, a token that was good before stays good until it expires.
 */
export function createPrincipals({ db, tokens, notifications }: Options): Principals {
  const remembered = createRemembered<Principal>();
  const findStanding = createBatch<string, Standing | undefined>({
    run: async (ids) => {
      const found = await findStandings(db, ids);
      return ids.map((id) => found.get(id));
    },
    max: MAX_LOOKUPS_A_STATEMENT,
    parallel: 2,
    limit: { items: 5_000, ms: 5_000 },
  });
  const offChannel = notifications.on(IDENTITY_CHANNEL, (payload) => {
    const [what, id] = payload.split(' ');
    if (what === 'gone' && id) remembered.forget(id);
  });
  // What was said while the connection was away was not heard.
  const offConnect = notifications.onConnect(remembered.forgetAll);

  return {
    async ofToken(token, kind = 'access') {
      const credential = `${kind} ${token}`;
      const known = remembered.get(credential);
      if (known && notifications.connected()) return known;
      const claims = await tokens.verify(token, kind);
      if (!claims) return undefined;
      const moment = remembered.moment();
      let standing: Standing | undefined;
      try {
        standing = await findStanding(claims.sessionId);
      } catch (error) {
        if (known) return known;
        throw error;
      }
      if (!standing || standing.user_id !== claims.userId || standing.role !== claims.role) {
        if (known) remembered.forget(claims.sessionId);
        return undefined;
      }
      const { user_id: userId, username, role, expires_at } = standing;
      const principal: Principal = {
        userId,
        username,
        role,
        sessionId: claims.sessionId,
        can: (permission) => ROLE_PERMISSIONS[role].has(permission),
      };
      const until = Math.min(claims.expiresAt * 1000, expires_at?.getTime() ?? Number.POSITIVE_INFINITY);
      remembered.set(credential, principal, { ids: [claims.sessionId, userId], until, moment });
      return principal;
    },
    forget: remembered.forget,
    close() {
      offChannel();
      offConnect();
    },
  };
}
