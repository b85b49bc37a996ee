import * as v from 'valibot';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { isId, newId } from '../../db/ids.ts';
import { deleteInvitation, insertInvitation, listInvitations } from '../../db/invitations.ts';
import { ROLES } from '../../db/schema.ts';
import { ProblemError } from '../../errors.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import { hashInvitation, newInvitation } from '../auth/accounts.ts';
import { defineRoute, type Route } from '../route.ts';
import { invitationExample, newInvitation as newShape, invitation as shape } from '../shapes/access.ts';
import { pageQuery } from '../validate.ts';
import { email } from './auth.ts';

const DAY = 86_400;

/** Inviting people. */
export function invitationRoutes(db: Db): Route[] {
  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/invitations',
      summary: 'Invite somebody to make an account',
      answers: {
        201: answers('The invitation, with its token.', newShape, { ...invitationExample, token: 'inv_0000' }, [
          'Cache-Control',
          'Idempotency-Replayed',
        ]),
      },
      idempotent: 'answer',
      body: v.strictObject({
        email: v.optional(email),
        role: v.optional(v.picklist(ROLES, `must be one of ${ROLES.join(', ')}`), 'user'),
        expires_in_seconds: v.optional(
          v.pipe(
            v.number(),
            v.integer('must be a whole number'),
            v.minValue(60, 'must be at least 60'),
            v.maxValue(90 * DAY, `must be at most ${90 * DAY}`),
          ),
          7 * DAY,
        ),
      }),
      example: { email: 'grace@example.com', role: 'user' },
      handle: async ({ body, principal, trail }) => {
        const token = newInvitation();
        const invitation = await db.transaction().execute(async (trx) => {
          const stored = await insertInvitation(trx, {
            id: newId(),
            token_hash: hashInvitation(token),
            email: body.email ?? null,
            role: body.role,
            created_by: principal.userId,
            seconds: body.expires_in_seconds,
          });
          const object = { type: 'invitation', id: stored.id };
          await insertAudit(trx, [
            trail.entry({ action: 'invitation.create', object, details: { email: stored.email, role: stored.role } }),
          ]);
          return stored;
        });
        return { status: 201, body: { ...invitation, token }, headers: { 'Cache-Control': 'no-store' } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/invitations',
      summary: 'Every invitation and who used it',
      answers: {
        200: answers('A page of invitations.', pageOf(shape), { data: [invitationExample], next_cursor: null }),
      },
      query: v.strictObject(pageQuery),
      handle: async ({ query }) => {
        const { rows, next } = await listInvitations(db, query);
        return { status: 200, body: { data: rows, next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/invitations/:id',
      summary: 'Take an invitation back',
      answers: { 204: answersNothing('The invitation is gone.') },
      handle: async ({ params: { id = '' }, trail }) => {
        await db.transaction().execute(async (trx) => {
          if (!isId(id) || !(await deleteInvitation(trx, id)))
            throw new ProblemError('not_found', 'There is no such invitation.');
          const object = { type: 'invitation', id };
          await insertAudit(trx, [trail.entry({ action: 'invitation.delete', object })]);
        });
        return { status: 204 };
      },
    }),
  ];
}
