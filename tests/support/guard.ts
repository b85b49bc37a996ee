import { afterAll, expect } from 'vitest';
import { open } from './open.ts';

afterAll(() => {
  const left = [...open];
  open.clear();
  expect(left, 'left open after the tests of this file').toEqual([]);
});
