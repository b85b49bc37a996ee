import type { Readiness } from '../../health/readiness.ts';
import { defineRoute, type Route } from '../route.ts';

/** Liveness and readiness, for load balancers: answered without a login. */
export function healthRoutes(readiness: Readiness): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/healthz',
      summary: 'Whether the process is alive',
      handle: () => ({ status: 200, body: { status: 'ok' } }),
    }),
    defineRoute({
      method: 'GET',
      path: '/readyz',
      summary: 'Whether tasks can be accepted and stored, and how each dependency is',
      handle: () => readiness.ask(),
    }),
  ];
}
