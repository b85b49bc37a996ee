import type { Breaker } from '../../clients/breaker.ts';
import { within } from '../../lifecycle.ts';
import { defineRoute, type Route } from '../route.ts';

/** A dependency, and how its state is asked. */
export interface Probe {
  name: string;
  /** What stands behind it, such as `Postgres (embedded)`; no address. */
  kind: string;
  /** Whether nothing can be accepted without it. */
  required: boolean;
  /** Answers details for the row. @throws when it is down */
  check(signal: AbortSignal): Promise<Record<string, unknown>>;
  /** Keeps the tasks of this process from it while it does not work. */
  breaker?: Breaker;
}

const PROBE_TIMEOUT_MS = 2_000;
const REMEMBER_MS = 1_000;

/** How each dependency is, with what it says of itself. */
export async function askDependencies(probes: readonly Probe[]) {
  return Promise.all(
    probes.map(async ({ name, kind, required, check, breaker }) => {
      const more = breaker && { breaker: breaker.state() };
      try {
        const details = await within(check(AbortSignal.timeout(PROBE_TIMEOUT_MS)), PROBE_TIMEOUT_MS, name);
        return { name, kind, required, status: 'up', details, ...more };
      } catch {
        return { name, kind, required, status: 'down', details: {}, ...more };
      }
    }),
  );
}

/** Liveness and readiness, for load balancers: answered without a login, so they tell no addresses, versions and errors. */
export function healthRoutes(probes: readonly Probe[]): Route[] {
  let last: { at: number; answer: Promise<{ status: number; body: object }> } | undefined;
  let checking = false;

  async function check(): Promise<{ status: number; body: object }> {
    const asked = await askDependencies(probes);
    const rows = asked.map(({ details: { version: _, ...shown }, ...row }) => ({ ...row, ...shown }));
    const ready = rows.every(({ required, status }) => status === 'up' || !required);
    const status = !ready ? 'unavailable' : rows.every((row) => row.status === 'up') ? 'ready' : 'degraded';
    return { status: ready ? 200 : 503, body: { status, dependencies: rows } };
  }

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
      handle: () => {
        // Anybody may ask, so asking often must not cost more than asking now and then.
        if (!last || (!checking && Date.now() - last.at > REMEMBER_MS)) {
          checking = true;
          const answer = check().finally(() => {
            checking = false;
          });
          last = { at: Date.now(), answer };
        }
        return last.answer;
      },
    }),
  ];
}
