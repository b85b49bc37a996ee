import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createRemembered } from '../../src/api/auth/remembered.ts';

const SOON = 60_000;

describe('what is remembered of credentials', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: 0 }));
  afterEach(() => void vi.useRealTimers());

  it('is there until it expires', () => {
    const remembered = createRemembered<string>();
    remembered.set('a', 'ada', { ids: ['s1'], until: SOON, moment: remembered.moment() });
    vi.setSystemTime(SOON - 1);
    expect([remembered.get('a'), remembered.get('b')]).toEqual(['ada', undefined]);
    vi.setSystemTime(SOON);
    expect(remembered.get('a')).toBeUndefined();
  });

  it('goes with any of its ids, and leaves the others', () => {
    const remembered = createRemembered<number>();
    const about = (ids: string[]) => ({ ids, until: SOON, moment: remembered.moment() });
    remembered.set('a', 1, about(['s1', 'u1']));
    remembered.set('b', 2, about(['s2', 'u1']));
    remembered.set('c', 3, about(['s3', 'u2']));
    const all = () => ['a', 'b', 'c'].map((credential) => remembered.get(credential));
    remembered.forget('s2');
    expect(all()).toEqual([1, undefined, 3]);
    remembered.forget('u1');
    expect(all()).toEqual([undefined, undefined, 3]);
    remembered.forgetAll();
    expect(all()).toEqual([undefined, undefined, undefined]);
  });

  it.each([
    ['one', (remembered: ReturnType<typeof createRemembered>) => remembered.forget('other')],
    ['all', (remembered: ReturnType<typeof createRemembered>) => remembered.forgetAll()],
  ])('is not kept when %s was forgotten between the look and the keeping', (_, forget) => {
    const remembered = createRemembered<string>();
    const moment = remembered.moment();
    forget(remembered);
    remembered.set('a', 'ada', { ids: ['s1'], until: SOON, moment });
    expect(remembered.get('a')).toBeUndefined();
  });

  it('stays within its room: the oldest goes first', () => {
    const remembered = createRemembered<number>(3);
    const about = { ids: ['s'], until: SOON, moment: 0 };
    for (let n = 0; n < 5; n++) remembered.set(String(n), n, about);
    expect(['0', '1', '2', '3', '4'].map(remembered.get)).toEqual([undefined, undefined, 2, 3, 4]);
    remembered.set('2', 22, about);
    expect(['2', '3', '4'].map(remembered.get)).toEqual([22, 3, 4]);
  });
});
