import type { SimTask } from './simulate.ts';

/** Tasks of several users, and what it is about. */
export interface Scenario {
  name: string;
  about: string;
  slots: number;
  tasks: SimTask[];
  /** Who is looked at: users that are alike, under one name. */
  kinds: Record<string, string[]>;
}

/** Numbers that look random, the same each time. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const names = (kind: string, count: number) => Array.from({ length: count }, (_, n) => `${kind}${n + 1}`);

/** Tasks that come one by one, at random times. */
function stream(
  random: () => number,
  user: string,
  of: { everyMs: number; untilMs: number; priority?: number; ms: number },
) {
  const tasks: SimTask[] = [];
  for (let at = 0; ; ) {
    at += -Math.log(1 - random()) * of.everyMs;
    if (at > of.untilMs) return tasks;
    tasks.push({ user, at, priority: of.priority ?? 5, ms: of.ms * (0.5 + random()) });
  }
}

const heap = (user: string, count: number, ms: number, priority = 5): SimTask[] =>
  Array.from({ length: count }, () => ({ user, at: 0, priority, ms }));

/** What is simulated. */
export function scenarios(seed = 9): Scenario[] {
  const random = randomFrom(seed);
  const light = names('light', 9);
  const alike = names('equal', 5);
  const urgent = names('urgent', 4);
  return [
    {
      name: 'one heap',
      about:
        '100,000 tasks of one user at once, and nine users with a task every five seconds or so; 8 slots, runs of 50 ms',
      slots: 8,
      tasks: [
        ...heap('heavy', 100_000, 50),
        ...light.flatMap((user) => stream(random, user, { everyMs: 5_000, untilMs: 600_000, ms: 50 })),
      ],
      kinds: { heavy: ['heavy'], light },
    },
    {
      name: 'cheap and dear',
      about: 'five users with 2,000 tasks of 100 ms each, and one with 2,000 of a second; 4 slots',
      slots: 4,
      tasks: [...heap('dear', 2_000, 1_000), ...alike.flatMap((user) => heap(user, 2_000, 100))],
      kinds: { dear: ['dear'], cheap: alike },
    },
    {
      name: 'urgent without end',
      about:
        'four users whose tasks of class 1 alone are more than the lane can do, for three hours, and one with a task of class 10 every minute; 4 slots, runs of two seconds',
      slots: 4,
      tasks: [
        ...urgent.flatMap((user) =>
          stream(random, user, { everyMs: 1_900, untilMs: 10_800_000, priority: 1, ms: 2_000 }),
        ),
        ...stream(random, 'last', { everyMs: 60_000, untilMs: 10_800_000, priority: 10, ms: 2_000 }),
      ],
      kinds: { urgent, 'last class': ['last'] },
    },
  ];
}
