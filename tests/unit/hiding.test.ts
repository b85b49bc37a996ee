import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createHiding, withoutSecrets } from '../../src/workers/tools/agents/hide.ts';

const SECRET = 'a/b+ "secret"é';

describe('a text that comes in pieces', () => {
  /** What is told of it, cut at these places. */
  function told(text: string, cuts: number[], secrets = [SECRET]): string[] {
    const pieces: string[] = [];
    const hiding = createHiding(secrets, (piece) => pieces.push(piece));
    let from = 0;
    for (const cut of [...cuts, text.length]) {
      hiding.add(text.slice(from, cut));
      from = cut;
    }
    hiding.end();
    return pieces;
  }

  it('shows no secret, wherever it is cut, and all else', () => {
    const text = `it is ${SECRET}, not a/b+ and not a`;
    for (let one = 0; one <= text.length; one++)
      for (let other = one; other <= text.length; other++)
        expect(told(text, [one, other]).join('')).toBe('it is ***, not a/b+ and not a');
  });

  it('is told as it comes, but for what may be the beginning of a secret', () => {
    const hiding: string[] = [];
    const { add, end } = createHiding(['sesame-sesame', 'short'], (piece) => hiding.push(piece));
    for (const piece of ['open ', 'ses', 'ame', '!', ' short', ' se']) add(piece);
    expect(hiding).toEqual(['open ', 'sesame!', ' short', ' ']);
    end();
    expect(hiding.at(-1)).toBe('se');
  });

  it('is as the whole would be', () => {
    const part = fc.constantFrom('abcabd', 'abc', 'ab', 'x', 'abcabcabd');
    fc.assert(
      fc.property(fc.array(part), fc.array(fc.nat(40)), (parts, places) => {
        const text = parts.join('');
        const cuts = places.map((place) => Math.min(place, text.length)).sort((a, b) => a - b);
        expect(told(text, cuts, ['abcabd']).join('')).toBe(withoutSecrets(text, ['abcabd']));
      }),
    );
  });
});

describe('secrets of which one begins another, ends one, or runs into one or into itself', () => {
  const some = ['team-key', 'team-key-9f8e7d6c5b', 'my-team', '6c5b-abc', 'abcabc'];

  it.each([
    ['team-key-9f8e7d6c5b', '***'],
    ['my-team-key-9f8e7d6c5b-abc!', '***!'],
    ['team-key-9f8e, team-keyteam-key', '***-9f8e, ******'],
    ['my-team my-team-key-9', '*** ***-9'],
    ['abcabcabc, abcabcabcabc!', '***, ***!'],
  ])('%s becomes %s, in pieces too, and in whatever order they are', (text, clean) => {
    for (const secrets of [some, some.toReversed()]) {
      expect(withoutSecrets(text, secrets)).toBe(clean);
      const pieces: string[] = [];
      const { add, end } = createHiding(secrets, (piece) => pieces.push(piece));
      for (const sign of text) add(sign);
      end();
      expect(pieces.join('')).toBe(clean);
    }
  });

  it('are hidden in pieces as in the whole', () => {
    const secrets = ['abcdef', 'defabx', 'abcdefgh', 'fghijk', 'bxyzac', 'ghghgh'];
    const part = fc.constantFrom(...secrets, 'abc', 'def', 'ab', 'gh', 'xyz', ' ');
    fc.assert(
      fc.property(fc.array(fc.tuple(part, fc.nat(8)), { maxLength: 12 }), fc.nat(9), (parts, step) => {
        const text = parts.map(([one, length]) => one.slice(0, length || undefined)).join('');
        const pieces: string[] = [];
        const { add, end } = createHiding(secrets, (piece) => pieces.push(piece));
        for (let at = 0; at < text.length; at += step + 1) add(text.slice(at, at + step + 1));
        end();
        expect(pieces.join('')).toBe(withoutSecrets(text, secrets));
      }),
    );
  });
});

it('a secret is hidden as it is, in JSON, and in addresses, in capitals or not', () => {
  const encoded = encodeURIComponent(SECRET);
  const query = new URLSearchParams({ a: SECRET }).toString();
  const lower = (text: string) => text.replaceAll(/%../g, (code) => code.toLowerCase());
  for (const one of [SECRET, JSON.stringify({ a: SECRET }), encoded, lower(encoded), query, lower(query)])
    expect(withoutSecrets(one, [SECRET])).not.toMatch(/secret/);
  expect(lower(encoded)).not.toBe(encoded);
});
