import * as v from 'valibot';
import type { Config } from '../../config.ts';
import type { Db } from '../../db/connect.ts';
import type { Role } from '../../db/schema.ts';
import { named } from '../../tasks/named.ts';
import { answers } from '../answer.ts';
import { lifeOf, type Tokens } from '../auth/tokens.ts';
import type { Permission } from '../policy.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { readTask } from './task-access.ts';

/** What a token for one task can do at most: everything that reading it may want. */
const READING: Permission[] = ['tasks:read', 'tasks:read:any', 'payloads:read'];

interface Options {
  db: Db;
  tokens: Tokens;
  auth: Config['auth'];
}

const taskToken = named(
  'TaskToken',
  v.strictObject({ access_token: v.string(), token_type: v.literal('Bearer'), expires_in: v.number() }),
);

/** Tokens for one task. */
export function taskTokenRoutes({ db, tokens, auth }: Options): Route[] {
  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/tasks/:id/token',
      summary: 'A short token for a browser, that can only read and stream this task',
      idempotent: 'answer',
      answers: {
        201: answers(
          'The token.',
          taskToken,
          { access_token: 'eyJhbGciOiJIUzI1NiJ9.eyJ0YXNrIjoiMDE5OSJ9.c2ln', token_type: 'Bearer', expires_in: 900 },
          ['Cache-Control', 'Idempotency-Replayed'],
        ),
      },
      handle: async ({ params, principal }) => {
        const { id } = await readTask(db, principal, params.id);
        return {
          status: 201,
          body: {
            access_token: await tokens.issue(
              { ...claimsOf(principal), task: { id, permissions: READING.filter(principal.can) } },
              'task',
            ),
            token_type: 'Bearer',
            expires_in: lifeOf('task', auth),
          },
          // RFC 6749, 5.1: answers with tokens must not be stored on the way.
          headers: { 'Cache-Control': 'no-store' },
        };
      },
    }),
  ];
}

/** The token hangs on the session or the API key that it was made with, and ends with that. */
function claimsOf({ userId, username, role, sessionId }: Principal) {
  // Only nobody has no role, and nobody gets here.
  return { userId, username, role: role as Role, sessionId };
}
