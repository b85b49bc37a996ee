import { createHash, randomBytes } from 'node:crypto';
import type { Config } from '../../config.ts';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import { holdInvitation, useInvitation } from '../../db/invitations.ts';
import type { Role } from '../../db/schema.ts';
import { revokeSessions, wasLoggedInFrom } from '../../db/sessions.ts';
import { findUser, findUserByLogin, hasUsers, insertUser, replacePassword, type UserRow } from '../../db/users.ts';
import { ProblemError, UsageError } from '../../errors.ts';
import { countAuthFailure } from '../../telemetry/auth.ts';
import type { AuditAction, Trail } from '../audit.ts';
import { networkOf } from '../client-address.ts';
import type { Principal } from '../route.ts';
import { invalid } from '../validate.ts';
import { isLoopback, type Logins, type LoginTarget } from './logins.ts';
import type { Passwords } from './passwords.ts';
import { passwordProblem } from './weak-passwords.ts';

interface NewAccount {
  username: string;
  email: string;
  password: string;
  invitation?: string;
}

/** Who has an account, and how to prove it. */
export interface Accounts {
  /** @throws ProblemError where registration is closed, wants an invitation, or the invitation is not good */
  register(account: NewAccount, trail: Trail): Promise<UserRow>;
  /**
   * @param action what the audit log calls a failure
   * @throws ProblemError `invalid_credentials`, the same for every reason
   */
  authenticate(
    login: { username: string } | { email: string },
    password: string,
    trail: Trail,
    action?: AuditAction,
  ): Promise<UserRow>;
  /** Changes the password and ends every other session of the user. @throws ProblemError where `current` is not the password */
  changePassword(principal: Principal, change: { current: string; next: string }, trail: Trail): Promise<void>;
  user(id: string): Promise<UserRow | undefined>;
}

interface Options {
  db: Db;
  registration: Config['auth']['registration'];
  passwords: Passwords;
  logins: Logins;
  /** Told of sessions that were ended, so that this process knows at once. */
  forget: (sessionId: string) => void;
}

export function createAccounts({ db, registration, passwords, logins, forget }: Options): Accounts {
  /** The same steps whether there is such an account or not, so that nothing tells. */
  async function aimAt(user: UserRow | undefined, name: string, address: string | null): Promise<LoginTarget> {
    const network = address === null ? null : networkOf(address);
    const known = await wasLoggedInFrom(db, user?.id ?? null, network);
    const apart = network !== null && (known || isLoopback(network));
    return logins.aim({ userId: user?.id, name, knownNetwork: apart ? network : undefined });
  }

  /** Made again where it was made at a lower cost than one would cost now; a hasher that is busy does so another time. */
  async function renewHash(user: UserRow, password: string): Promise<UserRow> {
    if (!passwords.isOutdated(user.password_hash)) return user;
    try {
      const password_hash = await passwords.hash(password);
      return (await replacePassword(db, user.id, user.password_hash, password_hash))
        ? { ...user, password_hash }
        : user;
    } catch (error) {
      if (error instanceof ProblemError) return user;
      throw error;
    }
  }

  const accounts: Accounts = {
    async register({ username, email, password, invitation: token }, trail) {
      if (registration === 'closed')
        throw new ProblemError('registration_closed', 'New accounts are made by an administrator here.');
      if (registration === 'invite' && token === undefined)
        throw new ProblemError('invitation_needed', 'New accounts need an invitation here; send it as `invitation`.');
      refuseWeak(password, { username, email }, '#/password');
      const password_hash = await passwords.hash(password);
      return db.transaction().execute(async (trx) => {
        const invitation = token === undefined ? undefined : await holdInvitation(trx, hashInvitation(token), email);
        if (token !== undefined && !invitation)
          throw new ProblemError(
            'invitation_needed',
            'The invitation was used before, has expired, was taken back, or is for another e-mail address.',
          );
        const role = invitation?.role ?? 'user';
        const user = await insertUser(trx, { id: newId(), username, email, password_hash, role });
        if (!user) throw new ProblemError('already_exists', 'The user name or the e-mail address is taken.');
        if (invitation) await useInvitation(trx, invitation.id, user.id);
        const details = { role, ...(invitation ? { invitation: invitation.id } : {}) };
        const object = { type: 'user', id: user.id };
        await insertAudit(trx, [trail.entry({ action: 'auth.register', actor: user, object, details })]);
        return user;
      });
    },

    async authenticate(login, password, trail, action = 'auth.login') {
      const user = await findUserByLogin(db, login);
      // What was typed as a name is not written down: now and then it is the password.
      const object = user ? { object: { type: 'user', id: user.id } } : {};
      const refused = (reason: string) => {
        countAuthFailure(reason === 'too_many_failures' ? reason : 'bad_login');
        trail.record({ action, outcome: 'refused', ...object, details: { reason } });
      };
      const tooMany = (error: unknown): never => {
        if (error instanceof ProblemError) refused('too_many_failures');
        throw error;
      };
      const name = 'username' in login ? login.username : login.email;
      const target = await aimAt(user, name, trail.address).catch(tooMany);
      const matches = await passwords.matches(password, user?.password_hash, () => target.take().catch(tooMany));
      if (user?.is_active && matches) {
        await target.succeeded();
        return renewHash(user, password);
      }
      refused(!user ? 'unknown_user' : matches ? 'account_off' : 'wrong_password');
      throw new ProblemError('invalid_credentials', 'The user name, the e-mail address or the password is wrong.');
    },

    async changePassword({ userId, username, sessionId }, { current, next }, trail) {
      const user = await accounts.authenticate({ username }, current, trail, 'auth.password');
      refuseWeak(next, user, '#/new_password');
      const password_hash = await passwords.hash(next);
      const ended = await db.transaction().execute(async (trx) => {
        if (!(await replacePassword(trx, userId, user.password_hash, password_hash)))
          throw new ProblemError('invalid_credentials', 'The password was changed by another request just now.');
        const sessions = await revokeSessions(trx, { userId, except: sessionId }, 'password_changed');
        const details = { sessions_ended: sessions.length };
        await insertAudit(trx, [
          trail.entry({ action: 'auth.password', object: { type: 'user', id: userId }, details }),
        ]);
        return sessions;
      });
      ended.forEach(forget);
    },

    user: (id) => findUser(db, id),
  };
  return accounts;
}

function refuseWeak(password: string, owner: { username: string; email: string }, pointer: string): void {
  const detail = passwordProblem(password, owner);
  if (detail) throw invalid([{ detail, pointer }]);
}

/** An invitation as its receiver gets it; only its hash is stored. */
export function newInvitation(): string {
  return `inv_${randomBytes(32).toString('base64url')}`;
}

export function hashInvitation(token: string): Buffer {
  return createHash('sha256').update(token).digest();
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
  const owner = { username: 'admin', email: admin.email };
  const problem = passwordProblem(admin.password, owner);
  if (problem) throw new UsageError(`ADMIN_PASSWORD ${problem}.`);
  const id = newId();
  const password_hash = await passwords.hash(admin.password);
  return db.transaction().execute(async (trx) => {
    const made = await insertUser(trx, { id, ...owner, password_hash, role: 'admin' });
    if (made) await insertAudit(trx, [{ ...BY_ITSELF, action: 'auth.register', object_type: 'user', object_id: id }]);
    return made !== undefined;
  });
}

/** What the product does at its first start, before anybody could ask for it. */
const BY_ITSELF = {
  actor_id: null,
  actor_name: 'system',
  key_id: null,
  outcome: 'ok' as const,
  address: null,
  request_id: null,
  details: { role: 'admin' },
};
