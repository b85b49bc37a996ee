import type { Answer, Client } from './world.ts';

export interface ShownKey {
  id: string;
  name: string;
  prefix: string;
  scopes: string[];
  task_types: string[] | null;
  priority_ceiling: number | null;
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
  key: string;
}

export const API_KEYS = '/api/v1/api-keys';

/** Makes an API key of this client. */
export async function makeKey(client: Client, more: object = {}): Promise<ShownKey> {
  const { status, body } = await client.request<ShownKey>('POST', API_KEYS, { name: 'for tests', ...more });
  if (status !== 201) throw new Error(`no key was made: ${status} ${JSON.stringify(body)}`);
  return body;
}

/** Asks with a key, in the header `Authorization` unless told otherwise. */
export function askWithKey<T = Record<string, unknown>>(
  anonymous: Client,
  key: string,
  [method, path, body]: readonly [string, string, unknown?],
  headers: Record<string, string> = { authorization: `Bearer ${key}` },
): Promise<Answer<T>> {
  return anonymous.request<T>(method, path, body, headers);
}
