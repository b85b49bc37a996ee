import * as v from 'valibot';
import type { VectorClient } from '../../clients/qdrant.ts';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { isId } from '../../db/ids.ts';
import { ROLES } from '../../db/schema.ts';
import { holdAdministrators, holdUser, listUsers, type UserChange, updateUser } from '../../db/user-admin.ts';
import { findUser, type UserRow } from '../../db/users.ts';
import { ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import type { Trail } from '../audit.ts';
import type { Principals } from '../auth/principals.ts';
import { removeUser } from '../remove-user.ts';
import { defineRoute, type Route } from '../route.ts';
import { pageQuery } from '../validate.ts';
import { presentUser } from './auth.ts';

interface Options {
  db: Db;
  principals: Principals;
  dispatcher: Dispatcher;
  vectors: VectorClient | undefined;
}

const noSuchUser = () => new ProblemError('not_found', 'There is no such user.');

const query = v.strictObject({
  ...pageQuery,
  role: v.optional(v.picklist(ROLES, `must be one of ${ROLES.join(', ')}`)),
  is_active: v.optional(v.picklist(['true', 'false'], 'must be true or false')),
  q: v.optional(v.string()),
});

const change = v.pipe(
  v.strictObject({
    role: v.optional(v.picklist(ROLES, `must be one of ${ROLES.join(', ')}`)),
    is_active: v.optional(v.boolean('must be true or false')),
  }),
  v.check((given) => Object.keys(given).length > 0, 'must name something to change'),
);

/** Administering accounts. */
export function userRoutes(options: Options): Route[] {
  const { db, principals } = options;

  /** Whoever is given another role, or is switched off, has to log in again. */
  async function update(id: string, wanted: UserChange, trail: Trail): Promise<UserRow> {
    const user = await db.transaction().execute(async (trx) => {
      const administrators = await holdAdministrators(trx);
      const before = isId(id) ? await holdUser(trx, id) : undefined;
      if (!before) throw noSuchUser();
      const changed = (Object.keys(wanted) as Array<keyof UserChange>).filter((name) => before[name] !== wanted[name]);
      if (changed.length === 0) return before;
      const after = await updateUser(trx, id, wanted);
      if (isAdministrator(before) && !isAdministrator(after) && administrators === 1)
        throw new ProblemError('last_administrator', 'This is the last active administrator.');
      const details = Object.fromEntries(changed.map((name) => [name, { from: before[name], to: after[name] }]));
      await insertAudit(trx, [trail.entry({ action: 'user.update', object: { type: 'user', id }, details })]);
      return after;
    });
    // A trigger ends the sessions and tells the other processes; this one knows at once.
    principals.forget(id);
    return user;
  }

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/users',
      summary: 'Every account, newest first',
      query,
      handle: async ({ query: { is_active, ...filter } }) => {
        const isActive = is_active === undefined ? undefined : is_active === 'true';
        const { rows, next } = await listUsers(db, { ...filter, isActive });
        return { status: 200, body: { data: rows.map(presentUser), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/users/:id',
      summary: 'Read an account',
      handle: async ({ params: { id = '' } }) => {
        const user = isId(id) ? await findUser(db, id) : undefined;
        if (!user) throw noSuchUser();
        return { status: 200, body: presentUser(user) };
      },
    }),
    defineRoute({
      method: 'PATCH',
      path: '/api/v1/users/:id',
      summary: 'Change role or state of an account; its sessions end',
      body: change,
      handle: async ({ params: { id = '' }, body, trail }) => ({
        status: 200,
        body: presentUser(await update(id, body, trail)),
      }),
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/users/:id',
      summary: 'Delete an account with everything that it has',
      handle: async ({ params: { id = '' }, trail }) => {
        // Switched off first, so that nothing new comes while the rest is taken away.
        const user = await update(id, { is_active: false }, trail);
        const unfinished = await removeUser(options, user, trail);
        if (unfinished === 0) return { status: 204 };
        return {
          status: 202,
          body: { ...presentUser(user), unfinished_tasks: unfinished },
          headers: { 'Retry-After': '2' },
        };
      },
    }),
  ];
}

function isAdministrator({ role, is_active }: UserRow): boolean {
  return role === 'admin' && is_active;
}
