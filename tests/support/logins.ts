import { randomBytes } from 'node:crypto';
import { hash } from '@node-rs/bcrypt';
import { newId } from '../../src/db/ids.ts';
import { insertUser } from '../../src/db/users.ts';
import { ADMIN_PASSWORD, type Answer, type World } from './world.ts';

export const LOGIN = '/api/v1/auth/login';

export interface Account {
  id: string;
  username: string;
  email: string;
}

/** Stores an account that nobody has logged in to yet; its password is that of everybody in the tests. */
export async function storeAccount(world: World, { cost = 4, active = true } = {}): Promise<Account> {
  const username = `k${randomBytes(6).toString('hex')}`;
  const id = newId();
  const account = { id, username, email: `${username}@example.com` };
  const password_hash = await hash(ADMIN_PASSWORD, cost);
  await insertUser(world.db, { ...account, password_hash, role: 'user' });
  if (!active) await world.db.updateTable('users').set({ is_active: false }).where('id', '=', id).execute();
  return account;
}

/** Logs in from an address; the world has to believe its own machine (`TRUSTED_PROXIES`). */
export function logInFrom(
  world: World,
  address: string,
  login: { username: string } | { email: string },
  { password = ADMIN_PASSWORD, url = world.url } = {},
): Promise<Answer> {
  return fetch(url + LOGIN, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': address },
    body: JSON.stringify(
      'username' in login ? { username: login.username, password } : { email: login.email, password },
    ),
  }).then(async (answer) => ({
    status: answer.status,
    headers: answer.headers,
    body: (await answer.json()) as Record<string, unknown>,
  }));
}

/** So many wrong passwords one after the other; answers the statuses. */
export async function failFrom(
  world: World,
  address: string,
  login: { username: string } | { email: string },
  times: number,
): Promise<number[]> {
  const statuses: number[] = [];
  for (let time = 0; time < times; time++)
    statuses.push((await logInFrom(world, address, login, { password: `wrong ${time}` })).status);
  return statuses;
}
