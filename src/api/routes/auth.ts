import * as v from 'valibot';
import type { UserRow } from '../../db/users.ts';
import { ProblemError } from '../../errors.ts';
import { maxCharacters } from '../../tasks/schemas.ts';
import { answers, answersNothing } from '../answer.ts';
import type { Identity, TokenPair } from '../auth/identity.ts';
import { MAX_PASSWORD_BYTES, MIN_PASSWORD_LENGTH } from '../auth/weak-passwords.ts';
import { PERMISSION_NAMES } from '../policy.ts';
import { defineRoute, type Route } from '../route.ts';
import { me, tokenPair, tokenPairExample, user, userExample } from '../shapes/user.ts';

const username = v.pipe(
  v.string(),
  v.regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,49}$/, 'must be 2–50 letters, digits, dots, dashes or underscores'),
);
export const email = v.pipe(v.string(), v.trim(), maxCharacters(254), v.email('must be an e-mail address'));
/** What a password has to be when it is set. */
export const newPassword = v.pipe(
  v.string(),
  v.minLength(MIN_PASSWORD_LENGTH, `must have at least ${MIN_PASSWORD_LENGTH} characters`),
  v.maxBytes(MAX_PASSWORD_BYTES, `must have at most ${MAX_PASSWORD_BYTES} bytes`),
);
/** A login never says what is wrong with a password, so it takes any. */
export const anyPassword = v.string();

/** Registration, login and sessions. */
export function authRoutes(identity: Identity): Route[] {
  return [
    defineRoute({
      method: 'POST',
      path: '/api/v1/auth/register',
      summary: 'Make an account',
      answers: { 201: answers('The account.', user, userExample) },
      problems: ['registration_closed', 'invitation_needed', 'already_exists'],
      limited: 'by address',
      body: v.strictObject({
        username,
        email,
        password: newPassword,
        invitation: v.optional(v.pipe(v.string(), v.maxLength(100, 'is too long'))),
      }),
      example: { username: 'ada', email: 'ada@example.com', password: 'violet kettle over the moon' },
      handle: async ({ body, trail }) => ({ status: 201, body: presentUser(await identity.register(body, trail)) }),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/auth/login',
      summary: 'Log in by user name or e-mail address',
      answers: { 200: answers('Tokens of a new session.', tokenPair, tokenPairExample, ['Cache-Control']) },
      problems: ['invalid_credentials'],
      limited: 'by address',
      body: v.union(
        [
          v.strictObject({ username: v.string(), password: anyPassword }),
          v.strictObject({ email: v.string(), password: anyPassword }),
        ],
        'must have password and either username or email, and nothing else',
      ),
      example: { username: 'ada', password: 'violet kettle over the moon' },
      handle: async ({ body, address, header, trail }) => {
        const user = await identity.authenticate(
          'username' in body ? { username: body.username } : { email: body.email },
          body.password,
          trail,
        );
        return tokens(await identity.startSession(user, { address, userAgent: header('user-agent') ?? null, trail }));
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/auth/refresh',
      summary: 'Exchange a refresh token for a new pair of tokens',
      answers: { 200: answers('A new pair; the old one is dead.', tokenPair, tokenPairExample, ['Cache-Control']) },
      problems: ['invalid_token', 'already_refreshed'],
      limited: 'by address',
      body: v.strictObject({
        refresh_token: v.pipe(
          v.string(),
          v.check(isShort, ({ input }) => (isJwt(input) ? IS_ACCESS_TOKEN : 'is too long')),
        ),
      }),
      example: { refresh_token: tokenPairExample.refresh_token },
      handle: async ({ body, trail }) => tokens(await identity.refresh(body.refresh_token, trail)),
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/auth/logout',
      summary: 'End this session',
      answers: { 204: answersNothing('The session has ended, in every process.') },
      handle: async ({ principal, trail }) => {
        await identity.logout(principal.sessionId, trail);
        return { status: 204 };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/auth/me',
      summary: 'Who I am and what I may do',
      answers: { 200: answers('The account.', me, { ...userExample, permissions: ['tasks:read', 'tasks:create'] }) },
      problems: ['not_found'],
      handle: async ({ principal }) => {
        const user = await identity.user(principal.userId);
        if (!user) throw new ProblemError('not_found', 'The account is gone.');
        return { status: 200, body: { ...presentUser(user), permissions: PERMISSION_NAMES.filter(principal.can) } };
      },
    }),
  ];
}

function tokens({ user, ...pair }: TokenPair) {
  // RFC 6749, 5.1: answers with tokens must not be stored on the way.
  return { status: 200, body: { ...pair, user: presentUser(user) }, headers: { 'Cache-Control': 'no-store' } };
}

export function presentUser({ id, username, email, role, is_active, created_at, last_login_at }: UserRow) {
  return { id, username, email, role, is_active, created_at, last_login_at };
}

const isShort = (token: string) => token.length <= 200;
const isJwt = (token: string) => /^eyJ[\w-]*\.[\w-]+\.[\w-]+$/.test(token);
const IS_ACCESS_TOKEN = 'is an access token; send the refresh_token that was answered beside it';
