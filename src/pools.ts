import type pg from 'pg';
import type { DatabaseAddress } from './db/address.ts';
import { createPool } from './db/connect.ts';
import type { Stack } from './lifecycle.ts';
import type { Logger } from './log.ts';

/** The pools of a process, by what its metrics call them. Nothing connects before first use. */
export interface Pools extends Readonly<Record<string, pg.Pool>> {
  main: pg.Pool;
  /** Of its own: no list that somebody reads may keep a lease from being renewed. */
  workers: pg.Pool;
  /** Of its own, because who leads keeps its connection, and there are two offices. */
  reconciler: pg.Pool;
}

/** How long a statement may take whose caller is a request, or that others wait behind. */
const PATIENCE_MS = 5_000;

/** Makes them, to be closed after all that is opened later. */
export function openPools(url: DatabaseAddress, max: number, stack: Stack, log: Logger): Pools {
  const open = (name: string, most: number, what: string) => {
    const pool = createPool({ url, max: most, name, log, statementMs: PATIENCE_MS });
    stack.defer(what, () => pool.end());
    return pool;
  };
  return {
    main: open('sutazai', max, 'the database pool'),
    workers: open('sutazai:worker', max, 'the pool of the workers'),
    reconciler: open('sutazai:reconciler', 2, 'the reconciler pool'),
  };
}
