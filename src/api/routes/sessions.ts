import * as v from 'valibot';
import type { Db } from '../../db/connect.ts';
import { isId } from '../../db/ids.ts';
import { listSessions } from '../../db/sessions.ts';
import { ProblemError } from '../../errors.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import type { Identity } from '../auth/identity.ts';
import { defineRoute, type Route } from '../route.ts';
import { session, sessionExample } from '../shapes/access.ts';
import { invalid, pageQuery } from '../validate.ts';
import { anyPassword, newPassword } from './auth.ts';

/** The sessions of an account, and its password. */
export function sessionRoutes({ db, identity }: { db: Db; identity: Identity }): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/auth/sessions',
      summary: 'Where I am logged in',
      answers: { 200: answers('A page of sessions.', pageOf(session), { data: [sessionExample], next_cursor: null }) },
      query: v.strictObject(pageQuery),
      handle: async ({ query, principal }) => {
        const { rows, next } = await listSessions(db, principal.userId, query);
        const data = rows.map(({ id, user_agent, address, created_at, last_used_at, expires_at }) => ({
          id,
          current: id === principal.sessionId,
          user_agent,
          address,
          created_at,
          last_used_at,
          expires_at,
        }));
        return { status: 200, body: { data, next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/auth/sessions',
      summary: 'Log out everywhere, here too',
      answers: { 204: answersNothing('All sessions have ended.') },
      handle: async ({ principal: { userId }, trail }) => {
        const entry = trail.entry({ action: 'session.end', object: { type: 'user', id: userId } });
        await identity.endSessions({ userId }, 'logout_everywhere', entry);
        return { status: 204 };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/auth/sessions/:id',
      summary: 'End one of my sessions',
      answers: { 204: answersNothing('The session has ended.') },
      handle: async ({ params: { id = '' }, principal: { userId }, trail }) => {
        const entry = trail.entry({ action: 'session.end', object: { type: 'session', id } });
        const ended = isId(id) ? await identity.endSessions({ id, userId }, 'ended_by_user', entry) : 0;
        if (ended === 0) throw new ProblemError('not_found', 'There is no such session.');
        return { status: 204 };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/auth/password',
      summary: 'Change my password and end all my other sessions',
      answers: { 204: answersNothing('The password is changed.') },
      body: v.strictObject({ current_password: anyPassword, new_password: newPassword }),
      example: { current_password: 'violet kettle over the moon', new_password: 'a kettle of another colour' },
      handle: async ({ body, principal, trail }) => {
        if (body.new_password === body.current_password)
          throw invalid([{ detail: 'must differ from the present one', pointer: '#/new_password' }]);
        try {
          await identity.changePassword(principal, { current: body.current_password, next: body.new_password }, trail);
        } catch (error) {
          // Of a good token, 401 would say that it is not.
          if (error instanceof ProblemError && error.code === 'invalid_credentials')
            throw invalid([{ detail: 'is not the present password', pointer: '#/current_password' }]);
          throw error;
        }
        return { status: 204 };
      },
    }),
  ];
}
