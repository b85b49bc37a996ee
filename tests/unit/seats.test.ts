import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BY_USER,
  byKey,
  giveSeats,
  goesBefore,
  type Held,
  keyName,
  type Room,
  type Standing,
} from '../../src/db/tasks/seats.ts';

const USER = 'u';

function standing(id: string, more: Partial<Standing> = {}): Standing {
  const key = { concurrency_key: null, concurrency_limit: null };
  return { id, user_id: USER, lane: 'system', priority: 5, since: Number(id), ...key, ...more };
}
const ofKey = (id: string, limit = 1, more: Partial<Standing> = {}) =>
  standing(id, { concurrency_key: 'k', concurrency_limit: limit, ...more });
const held = (task: Standing, by: string, called = false): Held => ({ ...task, held_by: by, called });

function room(most: number, running: number, ofTheKey = 0, reserved = 0): Room {
  return {
    users: new Map([[USER, { most, running }]]),
    keys: new Map([[keyName(USER, 'k'), { running: ofTheKey, reserved: new Map([['system', reserved]]) }]]),
  };
}

function given(asked: Standing[], line: Held[], there: Room, agingMs = 0) {
  const { start, hold, call } = giveSeats(asked, line, there, agingMs);
  return {
    start: start.map(({ id }) => id),
    hold: hold.map(({ task, by }) => `${task.id} by ${by}`),
    call: call.map(({ id }) => id),
  };
}

describe('who gets a place', () => {
  it('those that stand first, as many as there are places', () => {
    const asked = [ofKey('3'), ofKey('1'), ofKey('2', 1, { priority: 1 })];
    expect(given(asked, [], room(0, 0))).toEqual({ start: ['2'], hold: ['1 by key k', '3 by key k'], call: [] });
  });

  it('never one before another that is held back and stands before it', () => {
    const line = [held(ofKey('1'), byKey('k'), true)];
    expect(given([ofKey('2')], line, room(0, 0))).toEqual({ start: [], hold: ['2 by key k'], call: [] });
    expect(given([ofKey('0')], line, room(0, 0))).toEqual({ start: ['0'], hold: [], call: [] });
  });

  it('one of another lane all the same: the one before it may stand in a lane that is paused', () => {
    const line = [held(ofKey('1', 1, { lane: 'llm' }), byKey('k'), true)];
    expect(given([ofKey('2')], line, room(0, 0)).start).toEqual(['2']);
  });

  it('calls those for which there is a place and nobody called, in order', () => {
    const line = ['4', '1', '3', '2'].map((id) => held(ofKey(id, 3), byKey('k'), id === '1'));
    expect(given([], line, room(0, 0, 1))).toEqual({ start: [], hold: [], call: ['2'] });
  });

  it('counts the limit of the task that wants to start, where those of a key differ', () => {
    const line = [held(ofKey('1', 1), byKey('k')), held(ofKey('2', 5), byKey('k'))];
    expect(given([], line, room(0, 0, 2)).call).toEqual(['2']);
    expect(given([ofKey('3', 3), ofKey('4', 4)], [], room(0, 0, 3))).toMatchObject({
      start: ['4'],
      hold: ['3 by key k'],
    });
  });

  it('lets one that has a place of its key keep it while its user has none, so that no other follows it', () => {
    const line = [held(ofKey('2'), byKey('k'))];
    expect(given([ofKey('1')], line, room(1, 1))).toEqual({ start: [], hold: ['1 by user'], call: [] });
    expect(given([ofKey('3')], line, room(1, 1, 0, 1))).toEqual({ start: [], hold: ['3 by key k'], call: [] });
  });

  it('goes on with the next of the user where the key of the first has no place', () => {
    const line = [held(standing('2'), BY_USER)];
    expect(given([ofKey('1')], line, room(2, 1, 1))).toEqual({ start: [], hold: ['1 by key k'], call: ['2'] });
  });

  it('calls everybody whose user has no limit any more', () => {
    const line = ['1', '2', '3'].map((id) => held(standing(id), BY_USER));
    expect(given([], line, room(0, 0)).call).toEqual(['1', '2', '3']);
  });

  it('lets waiting make up for priority, as the lanes do', () => {
    const [early, urgent] = [standing('1', { priority: 6, since: 0 }), standing('2', { priority: 5, since: 99 })];
    expect(goesBefore(early, urgent, 100)).toBe(false);
    expect(goesBefore(early, { ...urgent, since: 101 }, 100)).toBe(true);
    expect(goesBefore(early, { ...urgent, since: 10_000 }, 0)).toBe(false);
  });

  it('never gives more places than there are, whoever asks', () => {
    const one = fc.record({
      id: fc.nat(99).map(String),
      since: fc.nat(20),
      priority: fc.integer({ min: 1, max: 3 }),
      keyed: fc.boolean(),
      line: fc.constantFrom(undefined, BY_USER, byKey('k')),
      called: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(one, { selector: ({ id }) => id, maxLength: 12 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
        fc.nat(4),
        fc.nat(4),
        (all, most, limit, running, ofTheKey) => {
          const tasks = all.map(({ id, since, priority, keyed, line, called }) => ({
            task:
              keyed || line === byKey('k') ? ofKey(id, limit, { since, priority }) : standing(id, { since, priority }),
            ...{ line, called },
          }));
          const asked = tasks.flatMap(({ task, line }) => (line ? [] : [task]));
          const line = tasks.flatMap(({ task, line, called }) => (line ? [held(task, line, called)] : []));
          const there = room(most, running, ofTheKey);
          const { start, hold } = giveSeats(asked, line, there, 0);
          expect([...start, ...hold.map(({ task }) => task)].map(({ id }) => id).sort()).toEqual(
            asked.map(({ id }) => id).sort(),
          );
          if (start.length > 0) expect(running + start.length).toBeLessThanOrEqual(most);
          const keyed = start.filter((task) => task.concurrency_key !== null);
          if (keyed.length > 0) expect(ofTheKey + keyed.length).toBeLessThanOrEqual(limit);
        },
      ),
      { numRuns: 500 },
    );
  });
});
