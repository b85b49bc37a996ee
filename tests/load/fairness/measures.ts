import type { SimRun, SimTask } from './simulate.ts';

const STEP_MS = 10;

/** What each user would have had by a time if all who want something had always had the same: milliseconds of work. */
function equalShares(tasks: readonly SimTask[], slots: number, untilMs: number): Map<string, number> {
  const arrivals = tasks.toSorted((a, b) => a.at - b.at);
  const wanted = new Map<string, number>();
  const had = new Map<string, number>();
  let next = 0;
  for (let now = 0; now < untilMs; now += STEP_MS) {
    for (let task = arrivals[next]; task && task.at <= now; task = arrivals[++next])
      wanted.set(task.user, (wanted.get(task.user) ?? 0) + task.ms);
    let left = slots * STEP_MS;
    // Who wants the least first: what is not wanted is shared by the others.
    const open = [...wanted].filter(([, ms]) => ms > 0).sort((a, b) => a[1] - b[1]);
    for (const [index, [user, ms]] of open.entries()) {
      const share = Math.min(ms, left / (open.length - index));
      wanted.set(user, ms - share);
      had.set(user, (had.get(user) ?? 0) + share);
      left -= share;
    }
  }
  return had;
}

/**
 * Jain's index of how alike users were treated up to a time: of what each had, as a part of an equal share or of what it wanted where
 * that is less. 1 is all alike, and 1/n is one of n alone.
 */
export function jain(runs: readonly SimRun[], slots: number, untilMs: number): number {
  const shares = equalShares(runs, slots, untilMs);
  const parts = [...shares].map(([user, share]) => {
    const own = runs.filter((run) => run.user === user && run.started < untilMs);
    return own.reduce((sum, { started, ms }) => sum + Math.min(ms, untilMs - started), 0) / share;
  });
  const sum = parts.reduce((total, part) => total + part, 0);
  return sum ** 2 / (parts.length * parts.reduce((total, part) => total + part ** 2, 0));
}

/** How long the tasks of these users waited, in seconds. */
export function waitsOf(runs: readonly SimRun[], users: readonly string[]): number[] {
  return runs.filter(({ user }) => users.includes(user)).map(({ started, at }) => (started - at) / 1_000);
}
