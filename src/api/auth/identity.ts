import type { Config } from '../../config.ts';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import type { Notifications } from '../../db/notify.ts';
import type { Role } from '../../db/schema.ts';
import {
  findTokenStanding,
  insertSession,
  listRevokedSessions,
  revokeSessions,
  rotateSession,
  SESSION_CHANNEL,
} from '../../db/sessions.ts';
import { findUser, findUserByLogin, hasUsers, insertUser, type UserRow } from '../../db/users.ts';
import { ProblemError, UsageError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { ROLE_PERMISSIONS } from '../policy.ts';
import type { Principal } from '../route.ts';
import { MAX_PASSWORD_BYTES, MIN_PASSWORD_LENGTH, type Passwords } from './passwords.ts';
import { createRevokedSessions } from './revoked.ts';
import { hashRefreshToken, newRefreshToken, sessionOfRefreshToken, type TokenKind, type Tokens } from './tokens.ts';

interface Client {
  address: string | null;
  userAgent: string | null;
}

/** Accounts and sessions. */
export interface Identity {
  register(account: { username: string; email: string; password: string }): Promise<UserRow>;
  /** @throws ProblemError `invalid_credentials`, the same for every reason */
  authenticate(login: { username: string } | { email: string }, password: string): Promise<UserRow>;
  startSession(user: UserRow, client: Client): Promise<TokenPair>;
  refresh(refreshToken: string): Promise<TokenPair>;
  logout(sessionId: string): Promise<void>;
  user(id: string): Promise<UserRow | undefined>;
  /** The principal of a token, or `undefined` for anything but a good token of a session that lives. */
  principal(token: string, kind?: TokenKind): Promise<Principal | undefined>;
  /** Starts a session for the queue dashboard; its token opens nothing else. */
  startDashboard(user: UserRow, client: Client): Promise<string>;
  close(): void;
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
  auth: Config['auth'] & { secret: string };
  tokens: Tokens;
  passwords: Passwords;
  notifications: Notifications;
  log: Logger;
}

/**
 * Honest clients sometimes send one refresh token twice at once, from two tabs or again after a lost answer. The one that
 * comes second within this time is answered with 409 and gets no tokens, but its session lives on. Whoever sends a dead
 * token later than that, or one that is older, holds a copy: the whole session ends.
 */
const REUSE_GRACE_SECONDS = 10;

/** Makes it, with the list of sessions that were revoked while tokens of theirs may still be about. */
export async function createIdentity({ db, auth, tokens, passwords, notifications, log }: Options): Promise<Identity> {
  const rememberSeconds = auth.accessSeconds + 60;
  const revoked = createRevokedSessions(rememberSeconds);
  const reload = async () => {
    for (const id of await listRevokedSessions(db, rememberSeconds)) revoked.add(id);
  };
  const offChannel = notifications.on(SESSION_CHANNEL, revoked.add);
  // What was revoked while the connection was away was not heard.
  const offConnect = notifications.onConnect(
    () => void reload().catch((error) => log.warn({ err: error }, 'revoked sessions could not be read')),
  );
  await reload();

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

  async function openSession(user: UserRow, client: Client, seconds: number) {
    const id = newId();
    const refreshToken = newRefreshToken(auth.secret, id);
    const expires_at = new Date(Date.now() + seconds * 1000);
    await insertSession(db, {
      id,
      user_id: user.id,
      token_hash: hashRefreshToken(refreshToken),
      user_agent: client.userAgent?.slice(0, 300) ?? null,
      address: client.address,
      expires_at,
    });
    return { id, expires_at, refreshToken };
  }

  /** Ends the session of a refresh token that was used before. @throws ProblemError in any case */
  async function refuseRefresh(sessionId: string, refreshToken: string): Promise<never> {
    const standing = await findTokenStanding(db, sessionId, hashRefreshToken(refreshToken), REUSE_GRACE_SECONDS);
    if (standing === 'just_rotated')
      throw new ProblemError('already_refreshed', 'Another request has just used this refresh token. Use its answer.');
    if (standing === 'old') {
      await revokeSessions(db, { id: sessionId }, 'refresh_token_reused');
      revoked.add(sessionId);
      log.warn({ session_id: sessionId }, 'a refresh token was used twice; its session is ended');
    }
    throw new ProblemError('invalid_token', 'The refresh token is not good any more. Log in again.');
  }

  return {
    async register({ username, email, password }) {
      if (auth.registration !== 'open')
        throw new ProblemError('registration_closed', 'New accounts are made by an administrator here.');
      const row = {
        id: newId(),
        username,
        email,
        password_hash: await passwords.hash(password),
        role: 'user' as const,
      };
      const user = await insertUser(db, row);
      if (!user) throw new ProblemError('already_exists', 'The user name or the e-mail address is taken.');
      return user;
    },

    async authenticate(login, password) {
      const user = await findUserByLogin(db, login);
      const matches = await passwords.matches(password, user?.password_hash);
      if (!user || !matches || !user.is_active)
        throw new ProblemError('invalid_credentials', 'The user name, the e-mail address or the password is wrong.');
      return user;
    },

    async startSession(user, client) {
      const session = await openSession(user, client, auth.refreshSeconds);
      return issue(user, session, session.refreshToken);
    },

    async startDashboard(user, client) {
      const { id: sessionId } = await openSession(user, client, auth.accessSeconds);
      return tokens.issue({ userId: user.id, username: user.username, role: user.role, sessionId }, 'dashboard');
    },

    async refresh(refreshToken) {
      const sessionId = sessionOfRefreshToken(auth.secret, refreshToken);
      if (!sessionId) throw new ProblemError('invalid_token', 'This is not a refresh token of ours. Log in again.');
      const next = newRefreshToken(auth.secret, sessionId);
      const rotated = await rotateSession(db, hashRefreshToken(refreshToken), hashRefreshToken(next));
      return rotated ? issue(rotated.user, rotated.session, next) : refuseRefresh(sessionId, refreshToken);
    },

    async logout(sessionId) {
      await revokeSessions(db, { id: sessionId }, 'logout');
      revoked.add(sessionId);
    },

    user: (id) => findUser(db, id),

    async principal(token, kind) {
      const claims = await tokens.verify(token, kind);
      if (!claims || revoked.has(claims.sessionId)) return undefined;
      const { userId, username, role, sessionId } = claims;
      return { userId, username, role, sessionId, can: (permission) => ROLE_PERMISSIONS[role].has(permission) };
    },

    close() {
      offChannel();
      offConnect();
    },
  };
}

/**
 * Makes the first administrator when nobody has an account yet.
 * @returns whether it was made just now
 */
export async function ensureAdministrator(
  db: Db,
  passwords: Passwords,
  admin: { email: string; password: string; role?: Role },
): Promise<boolean> {
  if (await hasUsers(db)) return false;
  if (Buffer.byteLength(admin.password) > MAX_PASSWORD_BYTES || admin.password.length < MIN_PASSWORD_LENGTH) {
    throw new UsageError(
      `ADMIN_PASSWORD must have at least ${MIN_PASSWORD_LENGTH} characters and at most ${MAX_PASSWORD_BYTES} bytes.`,
    );
  }
  const made = await insertUser(db, {
    id: newId(),
    username: 'admin',
    email: admin.email,
    password_hash: await passwords.hash(admin.password),
    role: 'admin',
  });
  return made !== undefined;
}
