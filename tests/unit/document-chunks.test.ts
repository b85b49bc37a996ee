import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Block } from '../../src/documents/blocks.ts';
import { chunkBlocks, embeddedText } from '../../src/documents/chunk.ts';
import { type CountTokens, loadTokenCounter } from '../../src/documents/tokens.ts';

let count: CountTokens;
beforeAll(async () => {
  count = await loadTokenCounter();
});

const text = (given: string, kept = false): Block => ({ kind: 'text', text: given, kept });
const heading = (level: number, given: string): Block => ({ kind: 'heading', level, text: given });
const small = { maxTokens: 32, overlapTokens: 10 };

describe('chunks', () => {
  const word = fc.oneof(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }),
    fc.constantFrom(
      'The',
      'kettle',
      'stands',
      'e.g.',
      'ständig',
      '机器学习',
      '😀',
      'x'.repeat(300),
      '=====',
      '\n',
      '3.5',
    ),
  );
  const sentence = fc.array(word, { minLength: 1, maxLength: 30 }).map((words) => `${words.join(' ')}.`);
  const block = fc.oneof(
    { arbitrary: fc.array(sentence, { maxLength: 8 }).map((all) => text(all.join(' '))), weight: 4 },
    fc.array(sentence, { maxLength: 8 }).map((all) => text(all.join('\n'), true)),
    fc.tuple(fc.integer({ min: 1, max: 6 }), sentence).map(([level, given]) => heading(level, given)),
  );
  const blocks = fc.array(block, { maxLength: 12 });
  const options = fc.record({ maxTokens: fc.integer({ min: 32, max: 200 }), overlapTokens: fc.nat(100) });

  it('hold the whole text in order, none more than it may, and the same every time', () => {
    fc.assert(
      fc.property(blocks, options, (given, how) => {
        const chunks = chunkBlocks(given, how, count);
        expect(chunkBlocks(given, how, count)).toEqual(chunks);
        for (const chunk of chunks) {
          expect(chunk.tokens).toBeLessThanOrEqual(how.maxTokens);
          expect(count(embeddedText(chunk))).toBe(chunk.tokens);
          expect(chunk.text).toMatch(/\S/);
        }
        const squeeze = (all: string[]) => all.join('').replace(/\s/g, '');
        const said = squeeze(chunks.map((chunk) => chunk.text.slice(chunk.overlap)));
        const bodies = squeeze(given.flatMap((one) => (one.kind === 'text' ? [one.text] : [])));
        // A heading that nothing stands under is a text of its own.
        const alone = given.some((one) => one.kind === 'heading');
        if (!alone) expect(said).toBe(bodies);
        else expect(said.length).toBeGreaterThanOrEqual(bodies.length);
      }),
      { numRuns: 150 },
    );
  });

  it('have the tokens of their text, also where pieces become other words when they are joined', () => {
    // A word of more letters than are counted at once, cut in the middle, behind words that leave it little room.
    const given = `${'ʼꜲ𐀀અ機'.repeat(40)} stands ${'x'.repeat(300)}.`;
    for (let maxTokens = 32; maxTokens <= 200; maxTokens++)
      for (const chunk of chunkBlocks([heading(1, 'ƀ'), text(given)], { maxTokens, overlapTokens: 9 }, count)) {
        expect(chunk.tokens).toBeLessThanOrEqual(maxTokens);
        expect(chunk.tokens).toBe(count(embeddedText(chunk)));
      }
  });

  it('begin with whole sentences of the chunk before, of half of one at most', () => {
    const sentences = Array.from({ length: 30 }, (_, n) => `The door number ${n} is blue.`);
    for (const overlapTokens of [10, 60]) {
      const chunks = chunkBlocks([text(sentences.join(' '))], { maxTokens: 32, overlapTokens }, count);
      expect(chunks.length).toBeGreaterThan(5);
      for (const [n, chunk] of chunks.slice(1).entries()) {
        const again = chunk.text.slice(0, chunk.overlap);
        expect(again).toMatch(/^(?:The door number \d+ is blue\. )+$/);
        expect(chunks[n]?.text.endsWith(again)).toBe(true);
        expect(count(again)).toBeLessThanOrEqual(16);
      }
    }
  });

  it('know their headings, and do not go on under the next', () => {
    const given = [heading(1, 'Set up'), text('One.'), heading(2, 'Ports'), text('Two.'), heading(1, 'End')];
    const chunks = chunkBlocks(given, small, count);
    expect(chunks.map(({ heading: path, text: body }) => [path, body.trim()])).toEqual([
      ['Set up', 'One.'],
      ['Set up > Ports', 'Two.'],
      ['End', 'End'],
    ]);
  });

  it('do not tear code that fits', () => {
    const code = 'if (a) {\n  b();\n}\nelse c();';
    const chunks = chunkBlocks(
      [text('Some words before. And some more of them here.'), text(code, true)],
      small,
      count,
    );
    expect(chunks.some((chunk) => chunk.text.includes(code))).toBe(true);
  });

  it.each([
    ['one word', 'x'.repeat(500_000)],
    ['one line of white space', `a${' '.repeat(500_000)}b`],
    ['one sentence', 'word '.repeat(100_000)],
    ['signs', '='.repeat(500_000)],
  ])('of %s that has no end are made in time', (_, given) => {
    const started = performance.now();
    const chunks = chunkBlocks([text(given)], { maxTokens: 200, overlapTokens: 30 }, count);
    expect(chunks.length).toBeGreaterThan(0);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});
