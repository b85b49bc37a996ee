import type { Config } from '../../config.ts';
import { type AuditEntry, insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import {
  findTokenStanding,
  insertSession,
  revokeSessions,
  rotateSession,
  type WhichSessions,
} from '../../db/sessions.ts';
import type { UserRow } from '../../db/users.ts';
import { ProblemError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { countAuthFailure } from '../../telemetry/auth.ts';
import type { Trail } from '../audit.ts';
import { type Accounts, createAccounts } from './accounts.ts';
import type { Logins } from './logins.ts';
import type { Passwords } from './passwords.ts';
import type { Principals } from './principals.ts';
import {
  hashRefreshToken,
  newRefreshToken,
  type Seal,
  sessionOfRefreshToken,
  type TokenKind,
  type Tokens,
} from './tokens.ts';

/** Where somebody logs in from, and where that is written down. */
export interface Client {
  address: string | null;
  userAgent: string | null;
  trail: Trail;
}

/** Accounts and sessions. */
export interface Identity extends Accounts {
  startSession(user: UserRow, client: Client): Promise<TokenPair>;
  refresh(refreshToken: string, trail: Trail): Promise<TokenPair>;
  logout(sessionId: string, trail: Trail): Promise<void>;
  /** Ends sessions in every process and writes the entry, if there were any; answers how many. */
  endSessions(which: WhichSessions, reason: string, entry: AuditEntry): Promise<number>;
  /** Starts a session for the queue dashboard; its token opens nothing else. */
  startDashboard(user: UserRow, client: Client): Promise<string>;
}

export interface TokenPair {
  access_token: string;
  token_type: 'Bearer';
  expires_in: number;
  refresh_token: string;
  refresh_expires_in: number;
  user: UserRow;
}

interface Options {
  db: Db;
  auth: Config['auth'];
  /** What refresh tokens are sealed with; it stays the same when the keys of access tokens change. */
  seal: Seal;
  tokens: Tokens;
  passwords: Passwords;
  logins: Logins;
  principals: Principals;
  log: Logger;
}

/**
 * Honest clients sometimes send one refresh token twice at once, from two tabs or again after a lost answer. The one that
 * comes second within this time is answered with 409 and gets no tokens, but its session lives on. Whoever sends a dead
 * token later than that, or one that is older, holds a copy: the whole session ends.
 */
const REUSE_GRACE_SECONDS = 10;

/** Makes it. */
export function createIdentity(options: Options): Identity {
  const { db, auth, seal, tokens, passwords, logins, principals, log } = options;
  async function issue(
    user: UserRow,
    session: { id: string; expires_at: Date },
    refreshToken: string,
  ): Promise<TokenPair> {
    return {
      access_token: await tokens.issue({
        userId: user.id,
        username: user.username,
        role: user.role,
        sessionId: session.id,
      }),
      token_type: 'Bearer',
      expires_in: auth.accessSeconds,
      refresh_token: refreshToken,
      // A session does not grow longer by being refreshed.
      refresh_expires_in: Math.max(0, Math.round((session.expires_at.getTime() - Date.now()) / 1000)),
      user,
    };
  }

  async function openSession(user: UserRow, { address, userAgent, trail }: Client, kind: TokenKind) {
    const id = newId();
    const refreshToken = newRefreshToken(seal, id);
    const seconds = kind === 'dashboard' ? auth.accessSeconds : auth.refreshSeconds;
    const expires_at = new Date(Date.now() + seconds * 1000);
    const session = {
      id,
      user_id: user.id,
      token_hash: hashRefreshToken(refreshToken),
      user_agent: userAgent?.slice(0, 300) ?? null,
      address,
      expires_at,
    };
    const object = { type: 'session', id };
    await db.transaction().execute(async (trx) => {
      await insertSession(trx, session);
      await insertAudit(trx, [trail.entry({ action: 'auth.login', actor: user, object, details: { for: kind } })]);
    });
    return { id, expires_at, refreshToken };
  }

  async function endSessions(which: WhichSessions, reason: string, entry: AuditEntry): Promise<number> {
    const ended = await db.transaction().execute(async (trx) => {
      const sessions = await revokeSessions(trx, which, reason);
      if (sessions.length > 0) await insertAudit(trx, [entry]);
      return sessions;
    });
    ended.forEach(principals.forget);
    return ended.length;
  }

  /** Ends the session of a refresh token that was used before. @throws ProblemError in any case */
  async function refuseRefresh(sessionId: string, refreshToken: string, trail: Trail): Promise<never> {
    const standing = await findTokenStanding(db, sessionId, hashRefreshToken(refreshToken), REUSE_GRACE_SECONDS);
    if (standing === 'just_rotated')
      throw new ProblemError('already_refreshed', 'Another request has just used this refresh token. Use its answer.');
    countAuthFailure('bad_refresh_token');
    if (standing === 'old') {
      const object = { type: 'session', id: sessionId };
      const entry = trail.entry({ action: 'auth.refresh_reused', outcome: 'refused', object });
      await endSessions({ id: sessionId }, 'refresh_token_reused', entry);
      log.warn({ session_id: sessionId }, 'a refresh token was used twice; its session is ended');
    }
    throw new ProblemError('invalid_token', 'The refresh token is not good any more. Log in again.');
  }

  return {
    ...createAccounts({ db, registration: auth.registration, passwords, logins, forget: principals.forget }),

    async startSession(user, client) {
      const session = await openSession(user, client, 'access');
      return issue(user, session, session.refreshToken);
    },

    async startDashboard(user, client) {
      const { id: sessionId } = await openSession(user, client, 'dashboard');
      return tokens.issue({ userId: user.id, username: user.username, role: user.role, sessionId }, 'dashboard');
    },

    async refresh(refreshToken, trail) {
      const sessionId = sessionOfRefreshToken(seal, refreshToken);
      if (!sessionId) {
        countAuthFailure('bad_refresh_token');
        throw new ProblemError('invalid_token', 'This is not a refresh token of ours. Log in again.');
      }
      const next = newRefreshToken(seal, sessionId);
      const rotated = await rotateSession(db, hashRefreshToken(refreshToken), hashRefreshToken(next));
      return rotated ? issue(rotated.user, rotated.session, next) : refuseRefresh(sessionId, refreshToken, trail);
    },

    async logout(sessionId, trail) {
      const object = { type: 'session', id: sessionId };
      await endSessions({ id: sessionId }, 'logout', trail.entry({ action: 'auth.logout', object }));
    },

    endSessions,
  };
}
