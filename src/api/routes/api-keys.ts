import * as v from 'valibot';
import { type ApiKeyRow, insertApiKey, listApiKeys, revokeApiKey } from '../../db/api-keys.ts';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { isId, newId } from '../../db/ids.ts';
import { type FieldError, ProblemError } from '../../errors.ts';
import type { Registry } from '../../tasks/index.ts';
import { maxCharacters } from '../../tasks/schemas.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import { newApiKey } from '../auth/api-keys.ts';
import { PERMISSION_NAMES, type Permission } from '../policy.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { apiKey, apiKeyExample, newApiKey as newShape } from '../shapes/access.ts';
import { invalid, pageQuery, time } from '../validate.ts';

const MAX_KEYS = 100;
const SCOPES = ['*', ...PERMISSION_NAMES] as const;

const some = <T extends v.GenericSchema<unknown, string>>(item: T) =>
  v.pipe(v.array(item), v.minLength(1, 'must name at least one'), v.maxLength(100, 'must name at most 100'));

const newKey = v.strictObject({
  name: v.pipe(v.string(), v.trim(), v.minLength(1, 'must not be empty'), maxCharacters(100)),
  scopes: v.optional(some(v.picklist(SCOPES, `must be * or permissions: ${PERMISSION_NAMES.join(', ')}`)), ['*']),
  task_types: v.optional(some(v.string())),
  priority_ceiling: v.optional(
    v.pipe(
      v.number(),
      v.integer('must be a whole number'),
      v.minValue(1, 'must be from 1 (first) to 10 (last)'),
      v.maxValue(10, 'must be from 1 (first) to 10 (last)'),
    ),
  ),
  expires_at: v.optional(
    v.pipe(
      time,
      v.check((at) => at.getTime() > Date.now(), 'must be in the future'),
    ),
  ),
});

/** The API keys of the one who asks. */
export function apiKeyRoutes({ db, registry }: { db: Db; registry: Registry }): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/api-keys',
      summary: 'List my API keys, newest first',
      answers: { 200: answers('A page of keys.', pageOf(apiKey), { data: [apiKeyExample], next_cursor: null }) },
      query: v.strictObject(pageQuery),
      handle: async ({ query, principal }) => {
        const { rows, next } = await listApiKeys(db, principal.userId, query);
        return { status: 200, body: { data: rows.map(presentKey), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/api-keys',
      summary: 'Make an API key; it is shown in this one answer',
      answers: {
        201: answers('The key.', newShape, { ...apiKeyExample, key: 'sk_3fK9x2…' }, [
          'Cache-Control',
          'Idempotency-Replayed',
        ]),
      },
      problems: ['limit_reached'],
      idempotent: 'answer',
      body: newKey,
      example: {
        name: 'nightly import',
        scopes: ['tasks:create', 'tasks:read'],
        task_types: ['embed'],
        priority_ceiling: 6,
      },
      handle: async ({ body, principal, trail }) => {
        const errors = [...wrongScopes(body.scopes, principal), ...wrongTypes(body.task_types ?? [], registry)];
        if (errors.length > 0) throw invalid(errors);
        const { key, hash, prefix } = newApiKey();
        const row = await db.transaction().execute(async (trx) => {
          const stored = await insertApiKey(
            trx,
            {
              id: newId(),
              user_id: principal.userId,
              name: body.name,
              prefix,
              key_hash: Buffer.from(hash, 'hex'),
              scopes: body.scopes,
              task_types: body.task_types ?? null,
              priority_ceiling: body.priority_ceiling ?? null,
              expires_at: body.expires_at ?? null,
            },
            MAX_KEYS,
          );
          if (stored) await insertAudit(trx, [trail.entry({ action: 'api_key.create', ...about(stored) })]);
          return stored;
        });
        if (!row)
          throw new ProblemError(
            'limit_reached',
            `You have ${MAX_KEYS} API keys, which is the most. Revoke one first.`,
          );
        return { status: 201, body: { ...presentKey(row), key }, headers: { 'Cache-Control': 'no-store' } };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/api-keys/:id',
      summary: 'Revoke an API key',
      answers: { 204: answersNothing('The key is dead, in every process.') },
      handle: async ({ params: { id = '' }, principal, trail }) => {
        const gone =
          isId(id) &&
          (await db.transaction().execute(async (trx) => {
            const revoked = await revokeApiKey(trx, principal.userId, id);
            if (revoked) await insertAudit(trx, [trail.entry({ action: 'api_key.revoke', ...about(revoked) })]);
            return revoked;
          }));
        if (!gone) throw new ProblemError('not_found', 'There is no such API key.');
        return { status: 204 };
      },
    }),
  ];
}

/** A scope beyond the own role would only look as if it opened something. */
function wrongScopes(scopes: string[], principal: Principal): FieldError[] {
  return scopes.flatMap((scope, index) =>
    scope === '*' || principal.can(scope as Permission)
      ? []
      : [{ pointer: `#/scopes/${index}`, detail: `is beyond your role ${principal.role}` }],
  );
}

function wrongTypes(types: string[], registry: Registry): FieldError[] {
  const names = registry.list().map(({ name }) => name);
  return types.flatMap((type, index) =>
    registry.find(type)
      ? []
      : [{ pointer: `#/task_types/${index}`, detail: `is not a task type; there are ${names.join(', ')}` }],
  );
}

function about({ id, name, scopes }: ApiKeyRow) {
  return { object: { type: 'api_key', id }, details: { name, scopes } };
}

function presentKey({ user_id: _, key_hash: __, revoked_at: ___, ...shown }: ApiKeyRow) {
  return shown;
}
