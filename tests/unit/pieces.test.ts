import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { piecesOf } from '../../src/documents/pieces.ts';
import { chunkId, MAX_PIECES, pieceId } from '../../src/vectors/chunks.ts';
import { pointId, pointIds } from '../../src/vectors/collection.ts';

const SENTENCES = ['Fill it with water. ', 'Press the button for two seconds. ', 'It beeps once at the end. '];

it('a short chunk is one piece, a longer one a few of about the same length, on the borders of sentences', () => {
  expect(piecesOf('Fill it with water.')).toEqual(['Fill it with water.']);
  const text = SENTENCES.join('').repeat(5);
  const pieces = piecesOf(text);
  expect(pieces).toHaveLength(Math.round(text.trim().length / 170));
  expect(pieces.join(' ')).toBe(text.trim());
  const lengths = pieces.map(({ length }) => length);
  expect(Math.max(...lengths) - Math.min(...lengths)).toBeLessThan(100);
  for (const piece of pieces) expect(piece).toMatch(/\.$/);
});

it('lines of tables and of code end pieces too', () => {
  const rows = Array.from({ length: 12 }, (_, n) => `| setting number ${n} | what it is good for | 1 |`);
  for (const piece of piecesOf(rows.join('\n'))) for (const line of piece.split('\n')) expect(rows).toContain(line);
});

it('whatever the text is, nothing of it is lost, and there are never more pieces than a chunk may have', () => {
  const any = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom(...SENTENCES, '\n', ' '));
  fc.assert(
    fc.property(fc.array(any, { maxLength: 400 }), (parts) => {
      const text = parts.join('');
      const pieces = piecesOf(text);
      expect(pieces.length).toBeGreaterThan(0);
      expect(pieces.length).toBeLessThanOrEqual(MAX_PIECES);
      const letters = (of: string) => of.replace(/[^\p{L}\p{N}]+/gu, '');
      expect(letters(pieces.join(''))).toBe(letters(text));
    }),
    { numRuns: 50 },
  );
});

it('the id of a chunk stands for all its points, and no id that a user gives leads to one of them alone', () => {
  const collection = '0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10';
  const id = chunkId('0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e11', 0);
  const first = pointId(collection, id);
  expect(pointIds(collection, id)).toEqual([first, pieceId(first, 1), pieceId(first, 2), pieceId(first, 3)]);
  expect(new Set(pointIds(collection, id)).size).toBe(MAX_PIECES);
  expect(pointIds(collection, 'mine')).toEqual([pointId(collection, 'mine')]);
  expect(pointIds(collection, 7)).toEqual([pointId(collection, 7)]);
  for (const given of [`${id}#1`, 'piece 1', pieceId(first, 1)])
    expect(pointIds(collection, id)).not.toContain(pointId(collection, given));
});
