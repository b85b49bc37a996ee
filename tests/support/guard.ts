import { afterAll, expect } from 'vitest';

/** What a test file opened and has to close: each world adds itself here. */
export const open = new Set<string>();

afterAll(() => {
  const left = [...open];
  open.clear();
  expect(left, 'left open after the tests of this file').toEqual([]);
});
