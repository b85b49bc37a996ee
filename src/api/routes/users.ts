import * as v from 'valibot';
import type { VectorClient } from '../../clients/qdrant.ts';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { isId } from '../../db/ids.ts';
import { setUserLimits, type UserLimits } from '../../db/limits.ts';
import { ROLES } from '../../db/schema.ts';
import {
  findLimitsOf,
  holdAdministrators,
  holdUser,
  listUsers,
  type UserChange,
  updateUser,
} from '../../db/user-admin.ts';
import { findUser, type UserRow } from '../../db/users.ts';
import { ProblemError } from '../../errors.ts';
import type { AfterMove } from '../../queues/after.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import type { Trail } from '../audit.ts';
import type { Principals } from '../auth/principals.ts';
import { removeUser } from '../remove-user.ts';
import { defineRoute, type Route } from '../route.ts';
import { accountExample, leaving, account as shape, userExample } from '../shapes/user.ts';
import { pageQuery } from '../validate.ts';
import { presentUser } from './auth.ts';

interface Options extends AfterMove {
  db: Db;
  principals: Principals;
  vectors: VectorClient | undefined;
}

interface Account {
  user: UserRow;
  limits: UserLimits;
}

/** Where nothing was set, everybody's limits hold. */
const NO_LIMITS: UserLimits = {
  waiting_tasks: null,
  running_tasks: null,
  tokens_per_day: null,
  requests_per_minute: null,
};

const noSuchUser = () => new ProblemError('not_found', 'There is no such user.');

const query = v.strictObject({
  ...pageQuery,
  role: v.optional(v.picklist(ROLES, `must be one of ${ROLES.join(', ')}`)),
  is_active: v.optional(v.picklist(['true', 'false'], 'must be true or false')),
  q: v.optional(v.string()),
});

const WANTED = 'must be a whole number, 0 for no limit, or null for what everybody has';
const MAX_LIMIT = 2_147_483_647;
const limit = v.optional(
  v.nullable(
    v.pipe(
      v.number(WANTED),
      v.integer(WANTED),
      v.minValue(0, WANTED),
      v.maxValue(MAX_LIMIT, `must be at most ${MAX_LIMIT}`),
    ),
  ),
);

const change = v.pipe(
  v.strictObject({
    role: v.optional(v.picklist(ROLES, `must be one of ${ROLES.join(', ')}`)),
    is_active: v.optional(v.boolean('must be true or false')),
    limits: v.optional(
      v.strictObject({
        waiting_tasks: limit,
        running_tasks: limit,
        tokens_per_day: limit,
        requests_per_minute: limit,
      }),
    ),
  }),
  v.check((given) => Object.keys(given).length > 0, 'must name something to change'),
);

/** Administering accounts. */
export function userRoutes(options: Options): Route[] {
  const { db, principals } = options;

  /** Whoever is given another role, or is switched off, has to log in again. */
  async function update(
    id: string,
    { limits = {}, ...wanted }: UserChange & { limits?: Partial<UserLimits> },
    trail: Trail,
  ): Promise<Account> {
    const account = await db.transaction().execute(async (trx) => {
      const administrators = await holdAdministrators(trx);
      const before = isId(id) ? await holdUser(trx, id) : undefined;
      if (!before) throw noSuchUser();
      const limitsBefore = (await findLimitsOf(trx, [id])).get(id) ?? NO_LIMITS;
      const after = Object.keys(wanted).length > 0 ? await updateUser(trx, id, wanted) : before;
      if (isAdministrator(before) && !isAdministrator(after) && administrators === 1)
        throw new ProblemError('last_administrator', 'This is the last active administrator.');
      await setUserLimits(trx, id, limits);
      const details = { ...changes(before, wanted), ...changes(limitsBefore, limits) };
      const entry = trail.entry({ action: 'user.update', object: { type: 'user', id }, details });
      if (Object.keys(details).length > 0) await insertAudit(trx, [entry]);
      return { user: after, limits: { ...limitsBefore, ...limits } };
    });
    // A trigger ends the sessions and tells the other processes; this one knows at once.
    principals.forget(id);
    return account;
  }

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/users',
      summary: 'Every account, newest first',
      answers: { 200: answers('A page of accounts.', pageOf(shape), { data: [accountExample], next_cursor: null }) },
      query,
      handle: async ({ query: { is_active, ...filter } }) => {
        const isActive = is_active === undefined ? undefined : is_active === 'true';
        const { rows, next } = await listUsers(db, { ...filter, isActive });
        const limits = await findLimitsOf(
          db,
          rows.map(({ id }) => id),
        );
        const data = rows.map((user) => presentAccount({ user, limits: limits.get(user.id) ?? NO_LIMITS }));
        return { status: 200, body: { data, next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/users/:id',
      summary: 'Read an account',
      answers: { 200: answers('The account.', shape, accountExample) },
      handle: async ({ params: { id = '' } }) => {
        const user = isId(id) ? await findUser(db, id) : undefined;
        if (!user) throw noSuchUser();
        const limits = (await findLimitsOf(db, [id])).get(id) ?? NO_LIMITS;
        return { status: 200, body: presentAccount({ user, limits }) };
      },
    }),
    defineRoute({
      method: 'PATCH',
      path: '/api/v1/users/:id',
      summary: 'Change role, state or limits of an account',
      answers: { 200: answers('The account as it is now.', shape, accountExample) },
      problems: ['last_administrator'],
      body: change,
      example: { role: 'operator', limits: { waiting_tasks: 500, requests_per_minute: null } },
      handle: async ({ params: { id = '' }, body, trail }) => ({
        status: 200,
        body: presentAccount(await update(id, body, trail)),
      }),
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/users/:id',
      summary: 'Delete an account with everything that it has',
      answers: {
        202: answers(
          'Some of its tasks are still at work: send the request again.',
          leaving,
          {
            ...userExample,
            is_active: false,
            unfinished_tasks: 2,
          },
          ['Retry-After'],
        ),
        204: answersNothing('The account is gone.'),
      },
      problems: ['last_administrator'],
      handle: async ({ params: { id = '' }, trail }) => {
        // Switched off first, so that nothing new comes while the rest is taken away.
        const { user } = await update(id, { is_active: false }, trail);
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

/** Of the values that are wanted, those that differ from what there is, for the audit log. */
function changes<T extends object>(before: T, wanted: Partial<T>): Record<string, { from: unknown; to: unknown }> {
  const names = (Object.keys(wanted) as Array<keyof T & string>).filter((name) => before[name] !== wanted[name]);
  return Object.fromEntries(names.map((name) => [name, { from: before[name], to: wanted[name] }]));
}

/** An account as administrators see it. */
function presentAccount({ user, limits }: Account): v.InferOutput<typeof shape> {
  return { ...presentUser(user), limits };
}

function isAdministrator({ role, is_active }: UserRow): boolean {
  return role === 'admin' && is_active;
}
