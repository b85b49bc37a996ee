import type { FaultCase } from '../rig/case.ts';
import { crashCases } from './worker-loss.ts';

/** Every case there is. A new one is a value in a file beside this one and stands in its list. */
export const CASES: readonly FaultCase[] = [...crashCases];
