import { describe, expect, it } from 'vitest';
import { createSlots } from '../../src/clients/hosts/slots.ts';

describe('the slots of a host', () => {
  it('are so many for each model, and for so many models at a time', () => {
    const slots = createSlots({ parallel: 2, maxLoaded: 2 });
    const ends = [slots.begin('a'), slots.begin('a')];
    expect([slots.room('a'), slots.room('b')]).toEqual([0, 2]);
    ends.push(slots.begin('b'));
    // A third model would have to wait inside the host until one of the two has nothing to do.
    expect([slots.room('b'), slots.room('c')]).toEqual([1, 0]);
    ends[2]?.('answered');
    expect([slots.room('c') > 0, slots.busy('b'), slots.busy()]).toEqual([true, 0, 2]);
  });

  it('are given back once, however often that is said', () => {
    const slots = createSlots({ parallel: 1, maxLoaded: 1 });
    const end = slots.begin('a');
    end('other');
    slots.begin('a');
    end('other');
    expect([slots.busy(), slots.room('a')]).toEqual([1, 0]);
  });

  it('are halved by a host that is full, once for calls that were under way together, and never none', () => {
    const slots = createSlots({ parallel: 8, maxLoaded: 1 });
    const together = Array.from({ length: 8 }, () => slots.begin('a'));
    for (const end of together) end('full');
    expect(slots.limit()).toBe(4);
    for (const limit of [2, 1, 1]) {
      slots.begin('a')('full');
      expect(slots.limit()).toBe(limit);
    }
    slots.begin('a');
    expect(slots.room('a')).toBe(0);
  });

  it('come back one with each round of calls that is answered, up to what there were', () => {
    const slots = createSlots({ parallel: 4, maxLoaded: 1 });
    slots.begin('a')('full');
    expect(slots.limit()).toBe(2);
    const answer = (calls: number) => {
      for (let n = 0; n < calls; n++) slots.begin('a')('answered');
      return slots.limit();
    };
    expect([answer(2), answer(3), answer(100)]).toEqual([2, 3, 4]);
    slots.begin('a')('other');
    expect(slots.limit()).toBe(4);
  });
});
