import { cpus } from 'node:os';
import { lasting } from './wait.ts';

/** What a case has begun with before its share of the processors can be seen. */
const SETTLING_MS = 6_000;
const LOOK_MS = 2_000;
/** The part of the processors that has nothing to do. */
const ENOUGH_IDLE = 0.35;
/** Some cases submit as much as can be done for minutes: one beside them holds, and would otherwise wait for their end. */
const ALWAYS = 2;

/**
 * Admits two cases at once, and further ones when the processors have room for one more. Most of a case is waiting, but several that
 * kill processes all the time would make each other break their times.
 */
export function createRoom(): { enter(): Promise<void>; leave(): void } {
  let under = 0;
  let door = Promise.resolve();

  async function wait(): Promise<void> {
    if (under >= ALWAYS) await lasting(SETTLING_MS);
    while (under >= ALWAYS && (await idleShare()) < ENOUGH_IDLE);
    under++;
  }
  return {
    enter() {
      door = door.then(wait);
      return door;
    },
    leave() {
      under--;
    },
  };
}

async function idleShare(): Promise<number> {
  const before = ticks();
  await lasting(LOOK_MS);
  const after = ticks();
  return (after.idle - before.idle) / (after.all - before.all);
}

function ticks(): { idle: number; all: number } {
  const times = cpus().map((cpu) => cpu.times);
  const sum = (numbers: number[]) => numbers.reduce((total, one) => total + one, 0);
  return { idle: sum(times.map(({ idle }) => idle)), all: sum(times.flatMap((each) => Object.values(each))) };
}
