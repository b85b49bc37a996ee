import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { decode, sign, verify } from 'hono/jwt';
import type { Config } from '../../config.ts';
import { isId } from '../../db/ids.ts';
import { ROLES, type Role } from '../../db/schema.ts';
import type { SecretBox } from '../../secretbox.ts';
import type { SigningKey, SigningKeys } from './signing-keys.ts';

/** What a token says. */
export interface AccessClaims {
  kind: TokenKind;
  userId: string;
  username: string;
  role: Role;
  sessionId: string;
  /** For `task`: what it reads, and the permissions that it does that with. */
  task?: { id: string; permissions: string[] };
  /** Until when it is good: its own end, or that of its key. Seconds since 1970. */
  expiresAt: number;
}

export interface Tokens {
  /** A signed token, good for {@link lifeOf} its kind from now. */
  issue(claims: Omit<AccessClaims, 'expiresAt' | 'kind'>, kind?: TokenKind): Promise<string>;
  /** What a token says, or `undefined` for anything but a good one of ours. @throws where its key must be looked up and cannot */
  verify(token: string, kinds?: readonly TokenKind[]): Promise<AccessClaims | undefined>;
}

/** `access` opens the API, `dashboard` the queue dashboard, `task` the reading of one task; none opens what another does. */
export type TokenKind = 'access' | 'dashboard' | 'task';

const CLOCK_SKEW_SECONDS = 30;
/** A token that may stand in a URL is not good for long: URLs end up in logs and histories. */
const TASK_TOKEN_SECONDS = 900;

/** How long a token is good, in seconds. */
export function lifeOf(kind: TokenKind, { accessSeconds }: { accessSeconds: number }): number {
  return kind === 'task' ? Math.min(TASK_TOKEN_SECONDS, accessSeconds) : accessSeconds;
}

/** Issues and checks access tokens. */
export function createTokens(auth: Config['auth'], keys: Pick<SigningKeys, 'current' | 'find'>): Tokens {
  const jwkOf = ({ kid, secret }: SigningKey) => ({
    kty: 'oct',
    k: Buffer.from(secret).toString('base64url'),
    alg: auth.algorithm,
    kid,
  });

  return {
    async issue({ userId, username, role, sessionId, task }, kind = 'access') {
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
        exp: now + lifeOf(kind, auth),
        ...(task && { task: task.id, scope: task.permissions.join(' ') }),
      };
      return sign(claims, jwkOf(keys.current()) as never, auth.algorithm);
    },
    async verify(token, kinds = ['access']) {
      const kid = kidIn(token);
      const key = kid === undefined ? undefined : await keys.find(kid);
      if (!key) return undefined;
      try {
        const payload = await verify(token, jwkOf(key), {
          alg: auth.algorithm,
          iss: auth.issuer,
          aud: auth.audience,
          iat: false,
        });
        const claims = readClaims(payload, kinds);
        return claims && { ...claims, expiresAt: Math.min(claims.expiresAt, key.until / 1000) };
      } catch {
        // Whatever is wrong with it, the caller learns only that it is not good.
        return undefined;
      }
    },
  };
}

/** The name of the key that a token says it is signed with, where that can be one of ours. */
function kidIn(token: string): string | undefined {
  try {
    const { kid } = decode(token).header as { kid?: unknown };
    return typeof kid === 'string' && /^[0-9a-f]{12}$/.test(kid) ? kid : undefined;
  } catch {
    return undefined;
  }
}

function readClaims(payload: Record<string, unknown>, kinds: readonly TokenKind[]): AccessClaims | undefined {
  const { sub, sid, name, role, typ, exp, iat } = payload;
  const kind = kinds.find((one) => one === typ);
  // The library takes a token without `exp` for one that never ends.
  if (!Number.isSafeInteger(exp) || typeof iat !== 'number' || iat > Date.now() / 1000 + CLOCK_SKEW_SECONDS)
    return undefined;
  if (!kind || typeof sub !== 'string' || typeof sid !== 'string' || typeof name !== 'string') return undefined;
  if (!isId(sid)) return undefined;
  if (!ROLES.includes(role as Role)) return undefined;
  const task = kind === 'task' ? readTaskClaims(payload) : undefined;
  if (kind === 'task' && !task) return undefined;
  return { kind, userId: sub, username: name, role: role as Role, sessionId: sid, task, expiresAt: exp as number };
}

function readTaskClaims({ task, scope }: Record<string, unknown>): AccessClaims['task'] {
  if (typeof task !== 'string' || !isId(task) || typeof scope !== 'string') return undefined;
  return { id: task, permissions: scope.split(' ') };
}

/** A keyed hash; it tells what we gave out from what others make up, also what we gave out under another key. */
export type Seal = Pick<SecretBox, 'digest' | 'digests'>;

/**
 * A refresh token: `<session>.<32 random bytes>.<seal of both>`; only its hash is stored. The seal shows for any token,
 * however old, that it was given out for this session: one that is not the present one is being used again.
 */
export function newRefreshToken(seal: Seal, sessionId: string): string {
  const body = `${sessionId}.${randomBytes(32).toString('base64url')}`;
  return `${body}.${textOf(seal.digest(sealed(body)))}`;
}

/** The session that a refresh token was given out for; `undefined` for what we never gave out. */
export function sessionOfRefreshToken(seal: Seal, token: string): string | undefined {
  const end = token.lastIndexOf('.');
  const given = Buffer.from(token.slice(end + 1));
  const ours = seal.digests(sealed(token.slice(0, Math.max(end, 0)))).some((one) => {
    const wanted = Buffer.from(textOf(one));
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  });
  return ours ? token.slice(0, token.indexOf('.')) : undefined;
}

/** The prefix keeps these seals apart from whatever else is sealed. */
const sealed = (body: string) => `refresh:${body}`;
const textOf = (digest: Buffer) => digest.toString('base64url');

export function hashRefreshToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
