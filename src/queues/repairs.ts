import type { Logger } from '../log.ts';
import { metrics } from '../telemetry/metrics.ts';

/** What the reconciler of this process repaired since it was made. */
export interface Repairs {
  /** Tasks and deliveries taken back from lost workers, those that ended by it included. */
  rescued: number;
  /** Tasks that ended because they lost too many workers. */
  poisoned: number;
  /** Tasks that their deadline overtook. */
  expired: number;
  /** Parked tasks that waited as long as they may. */
  woken: number;
  /** Scheduled tasks whose time came. */
  promoted: number;
  /** Tasks that were held back with a place free, and nobody had called them. */
  called: number;
  /** Jobs added for rows that had none. */
  rebuilt: number;
  /** Jobs taken away that waited for nothing. */
  orphans: number;
  /** Ended tasks deleted because their time was over. */
  forgotten: number;
  /** Ended tasks of which only what was in them was deleted. */
  emptied: number;
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
  woken: 'woke tasks that had waited as long as they may',
  called: 'called tasks for which a place was free',
  rebuilt: 'added jobs that were missing',
  orphans: 'took away jobs that waited for nothing',
  forgotten: 'deleted tasks that are kept no longer',
  emptied: 'deleted what was in tasks and is kept no longer',
} as const;

const COUNTED = [
  ...([...Object.keys(SAID), 'promoted'] as Array<keyof typeof SAID | 'promoted'>).map((kind) => [kind, kind] as const),
  ['epochsLost', 'epochs_lost'] as const,
];

export function noRepairs(): Repairs {
  return {
    rescued: 0,
    poisoned: 0,
    expired: 0,
    woken: 0,
    promoted: 0,
    called: 0,
    rebuilt: 0,
    orphans: 0,
    forgotten: 0,
    emptied: 0,
    epochsLost: 0,
    rounds: 0,
    lastRoundMs: 0,
  };
}

/** Says what was repaired between two counts, in the log and to whoever measures. */
export function sayRepairs(before: Repairs, after: Repairs, log: Logger): void {
  for (const [key, kind] of COUNTED) metrics.repairs.inc({ kind }, after[key] - before[key]);
  for (const [kind, message] of Object.entries(SAID)) {
    const count = after[kind as keyof typeof SAID] - before[kind as keyof typeof SAID];
    if (count > 0) log.info({ count }, message);
  }
}
