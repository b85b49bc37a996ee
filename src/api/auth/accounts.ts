import type { Config } from '../../config.ts';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { newId } from '../../db/ids.ts';
import type { Role } from '../../db/schema.ts';
import { findUser, findUserByLogin, hasUsers, insertUser, type UserRow } from '../../db/users.ts';
import { ProblemError, UsageError } from '../../errors.ts';
import type { Trail } from '../audit.ts';
import { MAX_PASSWORD_BYTES, MIN_PASSWORD_LENGTH, type Passwords } from './passwords.ts';

/** Who has an account, and how to prove it. */
export interface Accounts {
  register(account: { username: string; email: string; password: string }, trail: Trail): Promise<UserRow>;
  /** @throws ProblemError `invalid_credentials`, the same for every reason */
  authenticate(login: { username: string } | { email: string }, password: string, trail: Trail): Promise<UserRow>;
  user(id: string): Promise<UserRow | undefined>;
}

interface Options {
  db: Db;
  registration: Config['auth']['registration'];
  passwords: Passwords;
}

export function createAccounts({ db, registration, passwords }: Options): Accounts {
  return {
    async register({ username, email, password }, trail) {
      if (registration !== 'open')
        throw new ProblemError('registration_closed', 'New accounts are made by an administrator here.');
      const password_hash = await passwords.hash(password);
      return db.transaction().execute(async (trx) => {
        const user = await insertUser(trx, { id: newId(), username, email, password_hash, role: 'user' });
        if (!user) throw new ProblemError('already_exists', 'The user name or the e-mail address is taken.');
        const made = trail.entry({ action: 'auth.register', actor: user, object: { type: 'user', id: user.id } });
        await insertAudit(trx, [made]);
        return user;
      });
    },

    async authenticate(login, password, trail) {
      const user = await findUserByLogin(db, login);
      const matches = await passwords.matches(password, user?.password_hash);
      if (user?.is_active && matches) return user;
      // What was typed as a name is not written down: now and then it is the password.
      trail.record({
        action: 'auth.login',
        outcome: 'refused',
        ...(user ? { object: { type: 'user', id: user.id } } : {}),
        details: { reason: !user ? 'unknown_user' : matches ? 'account_off' : 'wrong_password' },
      });
      throw new ProblemError('invalid_credentials', 'The user name, the e-mail address or the password is wrong.');
    },

    user: (id) => findUser(db, id),
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
