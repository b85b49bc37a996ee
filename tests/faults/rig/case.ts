import type { Rig } from './rig.ts';

export const BACKENDS = ['redis', 'postgres'] as const;
export type Backend = (typeof BACKENDS)[number];

/** How the product is laid out for a case. */
export interface Topology {
  /** API processes; 1 unless said otherwise. */
  apis?: number;
  /** Worker processes; 2 unless said otherwise. */
  workers?: number;
  /** Settings of every process, beside those of the rig. */
  env?: Record<string, string>;
  /** Settings of the workers alone. */
  workerEnv?: Record<string, string>;
  /** Arguments of Node for the workers, such as `--max-old-space-size=64`. */
  workerNodeArgs?: string[];
  /** Starts the embedded vector store and gives it to the product as Qdrant. */
  vectors?: boolean;
  /** Gives one store a small file system of its own, which `rig.disk` can fill up. Needs root. */
  smallDisk?: { of: 'postgres' | 'redis'; megabytes: number };
  /** Further settings of Postgres, such as `{ max_connections: '20' }`. */
  postgres?: Record<string, string>;
  /** Further options of redis-server, such as `{ maxmemory: '64mb' }`. */
  redis?: Record<string, string>;
}

/** One fault, made on purpose, and what must be true afterwards. */
export interface FaultCase {
  /** The name of the fault, such as `F5`; several cases may share one and are told apart by their titles. */
  id: string;
  title: string;
  /** Where it applies; both unless said otherwise. */
  backends?: readonly Backend[];
  /** Whether it is one of those that run with every change. */
  quick?: boolean;
  topology?: Topology;
  /** How long the whole case may take, in seconds; 120 unless said otherwise. */
  withinSeconds?: number;
  /** Some minutes of waiting or a large load: left out of nothing, but run alone, because its figures would suffer. */
  alone?: boolean;
  /**
   * Makes the fault and heals it, and throws when what it sees is wrong. What is true after every fault (all tasks ended,
   * one transition into an ended status, one output, effects under one key, nothing left in the lanes, nobody exited,
   * ready again) is checked by the rig afterwards.
   */
  run(rig: Rig): Promise<void>;
}

/** Makes a case; only here for its types. */
export function defineCase(fault: FaultCase): FaultCase {
  return fault;
}
