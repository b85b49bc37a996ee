import * as v from 'valibot';
import { circuitOf } from '../../agents/health.ts';
import type { Probe } from '../../agents/probe.ts';
import { checkAgent } from '../../agents/prober.ts';
import { findHealthNow, listOutcomes } from '../../db/agent-health.ts';
import { type AgentRow, findAgent } from '../../db/agents.ts';
import type { Db } from '../../db/connect.ts';
import type { SecretBox } from '../../secretbox.ts';
import { answers } from '../answer.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import { agentHealthExample, agentHealth as shape } from '../shapes/agent-health.ts';
import { mayChange, noSuchAgent, readAgent, readAgentToSteer } from './agent-shared.ts';

interface Options {
  db: Db;
  box: SecretBox;
  probe: Probe;
}

type Shown = v.InferOutput<typeof shape>;

const HISTORY = 20;
const MAX_HISTORY = 200;

/** How agents are. */
export function agentHealthRoutes({ db, box, probe }: Options): Route[] {
  async function present(row: AgentRow, principal: Principal, history: number): Promise<Shown> {
    const [health, outcomes] = await Promise.all([findHealthNow(db, row.id), listOutcomes(db, row.id, history)]);
    if (!health) throw noSuchAgent();
    // What went wrong may tell where the agent is.
    const inside = mayChange(principal, row) || principal.can('agents:read:any');
    const said = (text: string | null) => (inside ? text : null);
    const { last_error: error, opened_until, now } = health;
    return {
      agent_id: row.id,
      is_active: row.is_active,
      state: health.state,
      circuit: circuitOf({ opened_until }, now),
      open_until: opened_until,
      note: said(health.note),
      heard_at: health.heard_at,
      next_probe_at: row.is_active ? health.next_probe_at : null,
      interval_seconds: inside ? health.interval_seconds : null,
      running: health.running,
      failures: { probes: health.probe_failures, calls: health.call_failures },
      latency: {
        probes: { p50_ms: health.probe_p50_ms, p95_ms: health.probe_p95_ms },
        calls: { p50_ms: health.call_p50_ms, p95_ms: health.call_p95_ms },
      },
      last_error: error && { message: said(error.message), source: error.source, at: new Date(error.at) },
      history: outcomes.map(({ at, source, ok, status, latency_ms, error: message }) => ({
        ...{ at, source, ok, status, latency_ms },
        error: said(message),
      })),
    };
  }

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/agents/:id/health',
      summary: 'How an agent is, and what was heard of it last',
      query: v.strictObject({
        history: v.optional(
          v.pipe(
            v.string(),
            v.regex(/^\d{1,3}$/, `must be a whole number from 0 to ${MAX_HISTORY}`),
            v.transform(Number),
            v.maxValue(MAX_HISTORY, `must be a whole number from 0 to ${MAX_HISTORY}`),
            v.description('How many of the last outcomes are shown.'),
          ),
          String(HISTORY),
        ),
      }),
      answers: { 200: answers('How it is.', shape, agentHealthExample) },
      handle: async ({ params, query, principal }) => {
        const row = await readAgent(db, principal, params.id);
        return { status: 200, body: await present(row, principal, query.history) };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/agents/:id/check',
      summary: 'Ask an agent now how it is',
      answers: { 200: answers('How it is, after a probe that was made for this request.', shape, agentHealthExample) },
      handle: async ({ params, principal, signal }) => {
        const row = await readAgentToSteer(db, principal, params.id);
        await checkAgent({ db, box, probe }, row, signal);
        const now = await findAgent(db, row.id);
        if (!now) throw noSuchAgent();
        return { status: 200, body: await present(now, principal, HISTORY) };
      },
    }),
  ];
}
