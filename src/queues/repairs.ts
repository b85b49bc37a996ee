import type { Logger } from '../log.ts';

/** What the reconciler of this process repaired since it was made. */
export interface Repairs {
  /** Tasks and deliveries taken back from lost workers, those that ended by it included. */
  rescued: number;
  /** Tasks that ended because they lost too many workers. */
  poisoned: number;
  /** Tasks that their deadline overtook. */
  expired: number;
  /** Scheduled tasks whose time came. */
  promoted: number;
  /** Jobs added for rows that had none. */
  rebuilt: number;
  /** Jobs taken away that waited for nothing. */
  orphans: number;
  /** How often the store of the jobs was emptied or restarted. */
  epochsLost: number;
  /** Rounds as the leader. */
  rounds: number;
  lastRoundMs: number;
}

/** What a round says of itself: one line for each kind of repair, however many there were. */
const SAID = {
  rescued: 'took back what lost workers held',
  poisoned: 'ended tasks that lost too many workers',
  expired: 'ended tasks past their deadline',
  rebuilt: 'added jobs that were missing',
  orphans: 'took away jobs that waited for nothing',
} as const;

export function noRepairs(): Repairs {
  return {
    rescued: 0,
    poisoned: 0,
    expired: 0,
    promoted: 0,
    rebuilt: 0,
    orphans: 0,
    epochsLost: 0,
    rounds: 0,
    lastRoundMs: 0,
  };
}

/** Logs what was repaired between two counts. */
export function sayRepairs(before: Repairs, after: Repairs, log: Logger): void {
  for (const [kind, message] of Object.entries(SAID)) {
    const count = after[kind as keyof typeof SAID] - before[kind as keyof typeof SAID];
    if (count > 0) log.info({ count }, message);
  }
}
