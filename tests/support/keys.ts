import { createHmac } from 'node:crypto';
import { kidOf, type SigningKeys } from '../../src/api/auth/signing-keys.ts';
import type { Seal } from '../../src/api/auth/tokens.ts';

/** One signing key that never changes. */
export function fixedKeys(secret: string): Pick<SigningKeys, 'current' | 'find'> {
  const key = { kid: kidOf(secret), secret, until: Number.POSITIVE_INFINITY };
  return { current: () => key, find: async (kid) => (kid === key.kid ? key : undefined) };
}

/** What seals refresh tokens, from a secret of the test. */
export function sealWith(secret: string): Seal {
  const digest = (text: string) => createHmac('sha256', secret).update(text).digest();
  return { digest, digests: (text) => [digest(text)] };
}
