import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createPasswords } from '../../src/api/auth/passwords.ts';
import { createTokens, newRefreshToken, sessionOfRefreshToken } from '../../src/api/auth/tokens.ts';
import { loadConfig } from '../../src/config.ts';
import { newId } from '../../src/db/ids.ts';
import { ProblemError } from '../../src/errors.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { fixedKeys, sealWith } from '../support/keys.ts';

const { auth } = loadConfig({ ACCESS_TOKEN_EXPIRE_MINUTES: '1' });
const keys = fixedKeys('k'.repeat(32));
const ada = { userId: newId(), username: 'ada', role: 'user', sessionId: newId() } as const;

describe('access tokens', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());

  it('say who it is until they expire', async () => {
    const tokens = createTokens(auth, keys);
    const token = await tokens.issue(ada);
    expect(await tokens.verify(token)).toMatchObject(ada);
    vi.advanceTimersByTime(58_000);
    expect(await tokens.verify(token)).toMatchObject(ada);
    vi.advanceTimersByTime(3_000);
    expect(await tokens.verify(token)).toBeUndefined();
  });

  it('are good for their own kind alone', async () => {
    const tokens = createTokens(auth, keys);
    const access = await tokens.issue(ada);
    const dashboard = await tokens.issue(ada, 'dashboard');
    expect(await tokens.verify(access)).toBeDefined();
    expect(await tokens.verify(access, ['dashboard'])).toBeUndefined();
    expect(await tokens.verify(dashboard, ['dashboard'])).toBeDefined();
    expect(await tokens.verify(dashboard)).toBeUndefined();
  });

  it('of another key are refused, also under the name of ours', async () => {
    const other = { ...keys.current(), secret: 'K'.repeat(32) };
    const made = [
      await createTokens(auth, fixedKeys(other.secret)).issue(ada),
      await createTokens(auth, { ...keys, current: () => other }).issue(ada),
    ];
    for (const token of made) expect(await createTokens(auth, keys).verify(token)).toBeUndefined();
  });

  it('are good no longer than their key', async () => {
    const until = Date.now() + 20_000;
    const retiring = { ...keys.current(), until };
    const tokens = createTokens(auth, { ...keys, find: async () => retiring });
    const claims = await tokens.verify(await tokens.issue(ada));
    expect(claims?.expiresAt).toBe(until / 1000);
  });

  it.each([
    ['algorithm', { algorithm: 'HS512' as const }],
    ['issuer', { issuer: 'other' }],
    ['audience', { audience: 'other' }],
  ])('of another %s are refused', async (_, other) => {
    const token = await createTokens({ ...auth, ...other }, keys).issue(ada);
    expect(await createTokens(auth, keys).verify(token)).toBeUndefined();
    expect(await createTokens({ ...auth, ...other }, keys).verify(token)).toBeDefined();
  });
});

describe('refresh tokens', () => {
  const seal = sealWith('secret');

  it('name their session to whoever has the secret, and each is another one', () => {
    const token = newRefreshToken(seal, 'session-1');
    expect(sessionOfRefreshToken(seal, token)).toBe('session-1');
    expect(sessionOfRefreshToken(sealWith('other'), token)).toBeUndefined();
    expect(newRefreshToken(seal, 'session-1')).not.toBe(token);
  });

  it('say nothing when they were changed anywhere', () => {
    const token = newRefreshToken(seal, 'session-1');
    for (let at = 0; at < token.length; at++) {
      const changed = `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`;
      expect(sessionOfRefreshToken(seal, changed), String(at)).toBeUndefined();
      expect(sessionOfRefreshToken(seal, token.slice(0, at))).toBeUndefined();
    }
    expect(sessionOfRefreshToken(seal, '')).toBeUndefined();
  });
});

describe('passwords', () => {
  it('match their own hash and nothing else', async () => {
    const passwords = createPasswords(4);
    const stored = await passwords.hash('correct horse');
    expect(await passwords.matches('correct horse', stored)).toBe(true);
    for (const wrong of ['correct horsf', 'Correct horse', '', 'correct horse '])
      expect(await passwords.matches(wrong, stored)).toBe(false);
    expect(await passwords.matches('correct horse', undefined)).toBe(false);
    expect(await passwords.matches('', undefined)).toBe(false);
  });

  it('beyond 72 bytes match nothing, though bcrypt would look at the beginning alone', async () => {
    const passwords = createPasswords(4);
    const stored = await passwords.hash('x'.repeat(72));
    expect(await passwords.matches('x'.repeat(72), stored)).toBe(true);
    expect(await passwords.matches('x'.repeat(73), stored)).toBe(false);
    const empty = await passwords.hash('');
    expect(await passwords.matches('x'.repeat(73), empty)).toBe(false);
  });

  it('are taken by two at once and 64 who wait; who comes then is told to come again', async () => {
    const passwords = createPasswords(8);
    const results = await Promise.allSettled(Array.from({ length: 80 }, () => passwords.hash('x')));
    const refused = results
      .filter((result) => result.status === 'rejected')
      .map(({ reason }) => reason as ProblemError);
    expect(refused).toHaveLength(80 - 66);
    for (const error of refused) {
      expect(error).toBeInstanceOf(ProblemError);
      expect([error.code, error.headers]).toEqual(['temporary-reduced-capacity', { 'Retry-After': '2' }]);
    }
    expect(
      (await Promise.allSettled(Array.from({ length: 66 }, () => passwords.hash('x')))).every(
        ({ status }) => status === 'fulfilled',
      ),
    ).toBe(true);
  });
});

describe('the secret box', () => {
  const box = createSecretBox(Buffer.alloc(32, 1).toString('base64'));

  it('opens what it sealed, and seals the same text in another way each time', () => {
    for (const text of ['', 'whsec_x', '☃\u{1f600}', 'x'.repeat(10_000)]) expect(box.open(box.seal(text))).toBe(text);
    expect(box.seal('x').equals(box.seal('x'))).toBe(false);
    expect(box.seal('tops3cret').includes('tops3cret')).toBe(false);
  });

  it('refuses what was changed at any byte, cut, or sealed with another key', () => {
    const sealed = box.seal('tops3cret');
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => box.open(changed), `byte ${at}`).toThrow();
      expect(() => box.open(sealed.subarray(0, at)), `length ${at}`).toThrow();
    }
    expect(() => box.open(createSecretBox(Buffer.alloc(32, 2).toString('base64')).seal('x'))).toThrow();
  });

  it('names the key that sealed, and opens with every key that it has, also what names none', () => {
    const [one, two] = [1, 2].map((byte) => Buffer.alloc(32, byte).toString('base64')) as [string, string];
    const both = createSecretBox(two, [one]);
    const sealed = box.seal('tops3cret');
    expect(sealed.subarray(0, 8)).toEqual(box.mark);
    expect(both.seal('x').subarray(0, 8)).toEqual(createSecretBox(two).mark);
    for (const text of [sealed, sealed.subarray(8)])
      for (const opener of [box, both, createSecretBox(one, [two])]) expect(opener.open(text)).toBe('tops3cret');
    expect(() => createSecretBox(two).open(sealed.subarray(8))).toThrow();
    expect(both.digests('a')).toEqual([createSecretBox(two).digest('a'), box.digest('a')]);
    expect(both.digest('a')).toEqual(createSecretBox(two).digest('a'));
  });

  it('refuses a tag that was cut to four bytes', () => {
    const sealed = box.seal('');
    expect(() => box.open(sealed.subarray(0, 12 + 4))).toThrow();
  });

  it('hashes a text the same way each time, and in another way under another key or under none', () => {
    const other = createSecretBox(Buffer.alloc(32, 2).toString('base64'));
    expect(box.digest('☃').equals(box.digest('☃'))).toBe(true);
    const plain = createHash('sha256').update('☃').digest();
    const hashes = [box.digest('☃'), box.digest('☃ '), other.digest('☃'), plain].map((hash) => hash.toString('hex'));
    expect(new Set(hashes).size).toBe(4);
  });
});
