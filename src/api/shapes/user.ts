import * as v from 'valibot';
import { ROLES } from '../../db/schema.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';
import { PERMISSION_NAMES } from '../policy.ts';

const fields = {
  id: sentId,
  username: v.string(),
  email: v.string(),
  role: v.picklist(ROLES),
  is_active: v.boolean(),
  created_at: sentTime,
  last_login_at: v.nullable(sentTime),
};

/** An account as `presentUser` answers it. */
export const user = named('User', v.strictObject(fields));

/** The account that asks, and what it may do with this token or key. */
export const me = named('Me', v.strictObject({ ...fields, permissions: v.array(v.picklist(PERMISSION_NAMES)) }));

const limit = v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0)));

/** An account as administrators see it. */
export const account = named(
  'Account',
  v.strictObject({
    ...fields,
    limits: v.pipe(
      v.strictObject({ waiting_tasks: limit, running_tasks: limit, tokens_per_day: limit, requests_per_minute: limit }),
      v.description('0 is no limit; null is what everybody has.'),
    ),
  }),
);

/** An account that is being deleted. */
export const leaving = named(
  'LeavingUser',
  v.strictObject({ ...fields, unfinished_tasks: v.pipe(v.number(), v.integer()) }),
);

/** The tokens of a login. */
export const tokenPair = named(
  'TokenPair',
  v.strictObject({
    access_token: v.string(),
    token_type: v.literal('Bearer'),
    expires_in: v.pipe(v.number(), v.description('Seconds that the access token is good for.')),
    refresh_token: v.string(),
    refresh_expires_in: v.number(),
    user,
  }),
);

export const userExample: v.InferInput<typeof user> = {
  id: '0199a5c0-1c52-7d0f-8a77-5b2e9d3c4f01',
  username: 'ada',
  email: 'ada@example.com',
  role: 'user',
  is_active: true,
  created_at: '2030-01-31T11:00:00.000Z',
  last_login_at: '2030-01-31T11:59:00.000Z',
};

export const accountExample: v.InferInput<typeof account> = {
  ...userExample,
  limits: { waiting_tasks: 500, running_tasks: null, tokens_per_day: 0, requests_per_minute: null },
};

export const tokenPairExample: v.InferInput<typeof tokenPair> = {
  access_token: 'eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiIwMTk5YTVjMCJ9.c2lnbmF0dXJl',
  token_type: 'Bearer',
  expires_in: 1800,
  refresh_token: 'rt_Zm9yIHRoZSByZWZlcmVuY2Ugb25seQ',
  refresh_expires_in: 2_592_000,
  user: userExample,
};
