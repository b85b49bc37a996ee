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

it('a secret is hidden as it is, in JSON, and in addresses, in capitals or not', () => {
  const encoded = encodeURIComponent(SECRET);
  const query = new URLSearchParams({ a: SECRET }).toString();
  const lower = (text: string) => text.replaceAll(/%../g, (code) => code.toLowerCase());
  for (const one of [SECRET, JSON.stringify({ a: SECRET }), encoded, lower(encoded), query, lower(query)])
    expect(withoutSecrets(one, [SECRET])).not.toMatch(/secret/);
  expect(lower(encoded)).not.toBe(encoded);
});
