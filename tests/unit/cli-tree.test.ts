import { expect, test } from 'vitest';
import { treeLines } from '../../src/cli/tree.ts';

const node = (id: string, ...needs: string[]) => ({ id, needs, text: id.toUpperCase() });

test('each step stands below what it waits for longest, and says what else it needs', () => {
  const nodes = [node('a'), node('b', 'a'), node('c', 'a'), node('d', 'c', 'b'), node('e', 'b'), node('z')];
  expect(treeLines(nodes)).toEqual(['a  A', '├─ b  B', '│  └─ e  E', '└─ c  C', '   └─ d  D (after b too)', 'z  Z']);
});

test('a step below whose needs are on no page stands by itself', () => {
  expect(treeLines([node('b', 'a')])).toEqual(['b  B']);
});

test('a chain of ten thousand steps is drawn', () => {
  const lines = treeLines(Array.from({ length: 10_000 }, (_, n) => node(`s${n}`, ...(n > 0 ? [`s${n - 1}`] : []))));
  expect(lines).toHaveLength(10_000);
});
