import * as v from 'valibot';
import type { Readiness } from '../../health/readiness.ts';
import { answers } from '../answer.ts';
import { defineRoute, type Route } from '../route.ts';
import { readyExample, readiness as shape, unreadyExample } from '../shapes/health.ts';

/** Liveness and readiness, for load balancers: answered without a login. */
export function healthRoutes(readiness: Readiness): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/healthz',
      summary: 'Whether the process is alive',
      answers: { 200: answers('It is.', v.strictObject({ status: v.literal('ok') }), { status: 'ok' }) },
      handle: () => ({ status: 200, body: { status: 'ok' } }),
    }),
    defineRoute({
      method: 'GET',
      path: '/readyz',
      summary: 'Whether tasks can be accepted and stored, and how each dependency is',
      answers: {
        200: answers('Tasks can be accepted and stored.', shape, readyExample),
        503: answers('They cannot.', shape, unreadyExample),
      },
      handle: () => readiness.ask(),
    }),
  ];
}
