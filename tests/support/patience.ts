/** What {@link work} takes on a machine that has nothing else to do, where the bounds of the tests were set. */
const USUAL_MS = 20;
const ROUNDS = 3;

function work(): number {
  let sum = 0;
  for (let i = 0; i < 6_000_000; i++) sum = (sum * 31 + i) | 0;
  return sum;
}

/** How many times slower than usual this machine is at the moment, other tests at its side included; at least 1. */
function slowness(): number {
  const began = performance.now();
  for (let round = 0; round < ROUNDS; round++) work();
  return Math.max(1, (performance.now() - began) / (ROUNDS * USUAL_MS));
}

/**
 * A bound of time for something that is to happen "at once": so many milliseconds where the machine is quiet and quick, and in
 * proportion more where it is not. What takes the wrong way misses it all the same, because that is a time-out or a round of polling away.
 */
export const patient = (ms: number): number => ms * slowness();
