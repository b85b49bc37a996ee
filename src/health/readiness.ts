import type { Breaker } from '../clients/breaker.ts';
import { within } from '../lifecycle.ts';

/** A dependency, and how its state is asked. */
export interface Probe {
  name: string;
  /** What stands behind it, such as `Postgres (embedded)`; no address. */
  kind: string;
  /** Whether this process is of no use without it. */
  required: boolean;
  /** Answers details for the row; `flaw` is a word for what is wrong although it answers. @throws when it is down */
  check(signal: AbortSignal): Promise<Record<string, unknown> & { flaw?: Flaw }>;
  /** Keeps the tasks of this process from it while it does not work. */
  breaker?: Pick<Breaker, 'state'>;
}

/** What is wrong with a dependency that answers. */
export interface Flaw {
  /** One word for machines, without addresses. */
  reason: string;
  /** Whether it is of no use as it is. */
  useless: boolean;
}

/** One dependency as it is now. */
export interface Dependency {
  name: string;
  kind: string;
  required: boolean;
  status: 'up' | 'degraded' | 'down';
  /** Why it is not up, where it says so. */
  reason?: string;
  details: Record<string, unknown>;
  breaker?: string;
}

/** How ready a process is, as `/readyz` answers. */
export interface Readiness {
  /** At most a second old: anybody may ask, so asking often must not cost more than asking now and then. */
  ask(): Promise<{ status: number; body: object }>;
  /** Each dependency now, with what it says of itself. */
  dependencies(): Promise<Dependency[]>;
}

const PROBE_TIMEOUT_MS = 2_000;
const REMEMBER_MS = 1_000;

/** Makes it. */
export function createReadiness(probes: readonly Probe[]): Readiness {
  let last: { at: number; answer: Promise<{ status: number; body: object }> } | undefined;
  let checking = false;

  async function dependencies(): Promise<Dependency[]> {
    return Promise.all(
      probes.map(async ({ name, kind, required, check, breaker }) => {
        const row = { name, kind, required, ...(breaker && { breaker: breaker.state() }) };
        try {
          const asked = check(AbortSignal.timeout(PROBE_TIMEOUT_MS));
          const { flaw, ...details } = await within(asked, PROBE_TIMEOUT_MS, name);
          if (!flaw) return { ...row, status: 'up', details };
          return { ...row, status: flaw.useless ? 'down' : 'degraded', reason: flaw.reason, details };
        } catch {
          return { ...row, status: 'down', details: {} };
        }
      }),
    );
  }

  /** Told to anybody, so it tells no versions, and no addresses and errors either. */
  async function check(): Promise<{ status: number; body: object }> {
    const rows = (await dependencies()).map(({ details: { version: _, ...shown }, ...row }) => ({ ...row, ...shown }));
    const ready = rows.every(({ required, status }) => status !== 'down' || !required);
    const status = !ready ? 'unavailable' : rows.every((row) => row.status === 'up') ? 'ready' : 'degraded';
    return { status: ready ? 200 : 503, body: { status, dependencies: rows } };
  }

  return {
    ask() {
      if (!last || (!checking && Date.now() - last.at > REMEMBER_MS)) {
        checking = true;
        const answer = check().finally(() => {
          checking = false;
        });
        last = { at: Date.now(), answer };
      }
      return last.answer;
    },
    dependencies,
  };
}
