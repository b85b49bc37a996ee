import type { AUTH_FAILURES } from './catalogue.ts';
import { metrics } from './metrics.ts';

export type AuthFailure = (typeof AUTH_FAILURES)[number];

/** Somebody was not let in. */
export function countAuthFailure(reason: AuthFailure): void {
  metrics.authFailures.inc({ reason });
}
