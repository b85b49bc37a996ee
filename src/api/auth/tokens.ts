import { createHash, createHmac, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { decode, sign, verify } from 'hono/jwt';
import type { Config } from '../../config.ts';
import { isId } from '../../db/ids.ts';
import { ROLES, type Role } from '../../db/schema.ts';

/** What an access token says. */
export interface AccessClaims {
  userId: string;
  username: string;
  role: Role;
  sessionId: string;
  /** Seconds since 1970. */
  expiresAt: number;
}

export interface Tokens {
  /** A signed access token, good for `accessSeconds` from now. */
  issue(claims: Omit<AccessClaims, 'expiresAt'>, kind?: TokenKind): Promise<string>;
  /** What a token says, or `undefined` for anything but a good one of ours. */
  verify(token: string, kind?: TokenKind): Promise<AccessClaims | undefined>;
}

/** `access` opens the API, `dashboard` the queue dashboard; neither opens the other. */
export type TokenKind = 'access' | 'dashboard';

const CLOCK_SKEW_SECONDS = 30;

/** Issues and checks access tokens. */
export function createTokens(auth: Config['auth'] & { secret: string }): Tokens {
  const kid = createHash('sha256').update(auth.secret).digest('hex').slice(0, 12);
  const key = { kty: 'oct', k: Buffer.from(auth.secret).toString('base64url'), alg: auth.algorithm, kid };

  return {
    async issue({ userId, username, role, sessionId }, kind = 'access') {
      const now = Math.floor(Date.now() / 1000);
      const claims = {
        iss: auth.issuer,
        aud: auth.audience,
        sub: userId,
        sid: sessionId,
        name: username,
        role,
        typ: kind,
        jti: randomUUID(),
        iat: now,
        exp: now + auth.accessSeconds,
      };
      return sign(claims, key as never, auth.algorithm);
    },
    async verify(token, kind = 'access') {
      try {
        if (decode(token).header.kid !== kid) return undefined;
        const payload = await verify(token, key, {
          alg: auth.algorithm,
          iss: auth.issuer,
          aud: auth.audience,
          iat: false,
        });
        return readClaims(payload, kind);
      } catch {
        // Whatever is wrong with it, the caller learns only that it is not good.
        return undefined;
      }
    },
  };
}

function readClaims(payload: Record<string, unknown>, kind: TokenKind): AccessClaims | undefined {
  const { sub, sid, name, role, typ, exp, iat } = payload;
  // The library takes a token without `exp` for one that never ends.
  if (!Number.isSafeInteger(exp) || typeof iat !== 'number' || iat > Date.now() / 1000 + CLOCK_SKEW_SECONDS)
    return undefined;
  if (typ !== kind || typeof sub !== 'string' || typeof sid !== 'string' || typeof name !== 'string') return undefined;
  if (!isId(sid)) return undefined;
  if (!ROLES.includes(role as Role)) return undefined;
  return { userId: sub, username: name, role: role as Role, sessionId: sid, expiresAt: exp as number };
}

/**
 * A refresh token: `<session>.<32 random bytes>.<HMAC-SHA256 of both>`; only its hash is stored. The seal shows for any
 * token, however old, that it was given out for this session: one that is not the present one is being used again.
 */
export function newRefreshToken(secret: string, sessionId: string): string {
  const body = `${sessionId}.${randomBytes(32).toString('base64url')}`;
  return `${body}.${sealOf(secret, body)}`;
}

/** The session that a refresh token was given out for; `undefined` for what we never gave out. */
export function sessionOfRefreshToken(secret: string, token: string): string | undefined {
  const end = token.lastIndexOf('.');
  const given = Buffer.from(token.slice(end + 1));
  const wanted = Buffer.from(sealOf(secret, token.slice(0, Math.max(end, 0))));
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return undefined;
  return token.slice(0, token.indexOf('.'));
}

function sealOf(secret: string, body: string): string {
  // The prefix keeps these seals apart from whatever else the secret signs.
  return createHmac('sha256', secret).update(`refresh:${body}`).digest('base64url');
}

export function hashRefreshToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
