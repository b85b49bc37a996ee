import type { Policy } from '../policy.ts';

/** The ways to say who is asking. */
export const SECURITY_SCHEMES = {
  accessToken: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'The `access_token` of `POST /api/v1/auth/login`.',
  },
  apiKey: { type: 'http', scheme: 'bearer', description: 'An API key, `sk_…`, in the place of the access token.' },
  apiKeyHeader: {
    type: 'apiKey',
    in: 'header',
    name: 'X-API-Key',
    description: 'The same key in a header of its own.',
  },
  taskToken: {
    type: 'apiKey',
    in: 'query',
    name: 'access_token',
    description: 'A token of `POST /api/v1/tasks/{id}/token`, which only reads this task; for what sends no headers.',
  },
} as const;

/** Which of them a route takes. */
export function securityOf(policy: Policy, readsOneTask: boolean): Array<Record<string, string[]>> {
  if (policy === 'public' || policy === 'signed') return [];
  const account: Array<Record<string, string[]>> = [{ accessToken: [] }, { apiKey: [] }, { apiKeyHeader: [] }];
  // Open to all where DOCS is open.
  if (policy === 'docs') return [{}, ...account];
  return readsOneTask ? [...account, { taskToken: [] }] : account;
}
