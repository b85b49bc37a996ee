import { createHash } from 'node:crypto';
import type { HonoRequest } from 'hono';
import { isOutcomeUnknown } from '../db/away.ts';
import type { Db } from '../db/connect.ts';
import { freeKey, type KeyUse, keepAnswer, takeKey } from '../db/idempotency.ts';
import { newId } from '../db/ids.ts';
import { ProblemError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { SecretBox } from '../secretbox.ts';
import type { Principal, RouteAnswer } from './route.ts';

/** Lets a request that is sent again with the same `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) happen once. */
export interface Idempotency {
  /**
   * The key that a request brings, with what it asks for: method, path, query, body as JSON, and deadline.
   * @throws ProblemError `bad_request` where the key is none
   */
  useOf(request: HonoRequest, principal: Principal, body: unknown): KeyUse | undefined;
  /**
   * Does the work and keeps its answer, or gives the answer of the first request with the key again. Only success is
   * kept: an error frees the key, unless the work may have been written all the same, as where the connection was lost
   * while it was; the key is then in use until its lease ends.
   * @throws ProblemError `idempotency_key_reused`, `idempotency_key_in_use`
   */
  once(use: KeyUse, work: () => Promise<RouteAnswer>): Promise<RouteAnswer>;
}

/** Makes it. Answers are sealed, because some show a secret. */
export function createIdempotency({ db, box, log }: { db: Db; box: SecretBox; log: Logger }): Idempotency {
  // The work is done or refused by then: where the key cannot be written, its lease ends by itself.
  const warn = (error: unknown) => log.warn({ err: error }, 'an idempotency key could not be written');
  const free = (use: KeyUse) => freeKey(db, use).catch(warn);
  const keep = (use: KeyUse, answer: RouteAnswer) => keepAnswer(db, use, box.seal(JSON.stringify(answer))).catch(warn);

  return {
    useOf(request, principal, body) {
      const header = request.header('idempotency-key');
      if (header === undefined) return undefined;
      const { pathname, search } = new URL(request.url);
      const asked = [request.method, pathname + search, request.header('cancel-after') ?? '', canonical(body)];
      const [fingerprint, ...others] = box.digests(asked.join('\n')) as [Buffer, ...Buffer[]];
      return {
        user_id: principal.userId,
        caller: principal.keyId ?? principal.userId,
        key: parseKey(header),
        fingerprint,
        others,
        holder: newId(),
      };
    },

    async once(use, work) {
      const standing = await takeKey(db, use);
      if (standing.is === 'answered') return replayed(JSON.parse(box.open(standing.answer)) as RouteAnswer);
      if (standing.is !== 'mine') throw keyRefused(standing.is);
      const answer = await work().catch(async (error) => {
        if (!isOutcomeUnknown(error)) await free(use);
        throw error;
      });
      if (answer.status >= 400) await free(use);
      else await keep(use, answer);
      return answer;
    },
  };
}

/** The same key for what came in a form as well, which is known only once it has been received. */
export function withContent(use: KeyUse, digest: Buffer): KeyUse {
  const both = (fingerprint: Buffer) => createHash('sha256').update(fingerprint).update(digest).digest();
  return { ...use, fingerprint: both(use.fingerprint), others: use.others?.map(both) };
}

/** Marks an answer as that of an earlier request. */
export function replayed(answer: RouteAnswer): RouteAnswer {
  return { ...answer, headers: { ...answer.headers, 'Idempotency-Replayed': 'true' } };
}

/** Why a request with a key gets no answer of an earlier one. */
export function keyRefused(why: 'reused' | 'in_use'): ProblemError {
  return why === 'reused'
    ? new ProblemError(
        'idempotency_key_reused',
        'An earlier request asked for something else under this Idempotency-Key; a new request wants a new key.',
      )
    : new ProblemError(
        'idempotency_key_in_use',
        'The first request with this Idempotency-Key is still at work. Send the same request again to get its answer.',
        { headers: { 'Retry-After': '1' } },
      );
}

/** A string of a structured field (RFC 9651), or the same without quotes where no character wants them. */
const QUOTED = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/;
const BARE = /^[!#-+\--:<-[\]-~]+$/;
const MAX_KEY_LENGTH = 255;

function parseKey(header: string): string {
  const key = BARE.test(header) ? header : QUOTED.exec(header)?.[1]?.replace(/\\(.)/g, '$1');
  if (!key || key.length > MAX_KEY_LENGTH) {
    throw new ProblemError(
      'bad_request',
      `The header Idempotency-Key wants one key of 1 to ${MAX_KEY_LENGTH} printable ASCII characters, such as a UUID, bare or in double quotes.`,
    );
  }
  return key;
}

/** JSON text without what the sender is free in: the order of names, and white space. */
function canonical(value: unknown): string {
  const sorted = (_: string, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner;
  return JSON.stringify(value, sorted) ?? '';
}
