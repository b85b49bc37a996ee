import * as v from 'valibot';
import { AGENT_STATES } from '../../db/schema.ts';
import { named, sentId, sentTime } from '../../tasks/named.ts';

const count = v.pipe(v.number(), v.integer());
const INSIDE = 'null where you may use the agent, but not change it.';
const source = v.pipe(
  v.picklist(['probe', 'call']),
  v.description('Whether it was asked how it is, or a task called it.'),
);
const text = v.nullable(v.pipe(v.string(), v.description(`What went wrong; ${INSIDE}`)));

const latency = v.strictObject({
  p50_ms: v.nullable(v.pipe(count, v.description('Of the last hundred at most that succeeded within a day.'))),
  p95_ms: v.nullable(count),
});

/** How an agent is, and what that is known from. */
export const agentHealth = named(
  'AgentHealth',
  v.strictObject({
    agent_id: sentId,
    is_active: v.boolean(),
    state: v.pipe(
      v.picklist(AGENT_STATES),
      v.description(
        'It is `down` when its last probe failed or its circuit is not closed, `degraded` when it answers, but slowly or not always, and `unknown` when nothing was heard of it for two intervals.',
      ),
    ),
    circuit: v.pipe(
      v.picklist(['closed', 'open', 'half_open']),
      v.description('An open one turns calls away; a half-open one lets a probe and one call at a time find out.'),
    ),
    open_until: v.nullable(v.pipe(sentTime, v.description('When the circuit is, or was, half open next.'))),
    note: v.nullable(
      v.pipe(v.string(), v.description(`What its last probe found amiss although it was answered; ${INSIDE}`)),
    ),
    heard_at: v.nullable(v.pipe(sentTime, v.description('When something was heard of it last, by a probe or a call.'))),
    next_probe_at: v.nullable(v.pipe(sentTime, v.description('Null where it is switched off: then nobody asks it.'))),
    interval_seconds: v.nullable(v.pipe(count, v.description(`How often it is probed; ${INSIDE}`))),
    running: v.pipe(count, v.description('Calls under way, over all workers.')),
    failures: v.pipe(v.strictObject({ probes: count, calls: count }), v.description('One after the other, until now.')),
    latency: v.strictObject({ probes: latency, calls: latency }),
    last_error: v.nullable(v.strictObject({ message: text, source, at: sentTime })),
    history: v.pipe(
      v.array(
        v.strictObject({
          at: sentTime,
          source,
          ok: v.boolean(),
          status: v.nullable(v.pipe(count, v.description('The HTTP status, where there was an answer.'))),
          latency_ms: count,
          error: text,
        }),
      ),
      v.description('The last outcomes, newest first.'),
    ),
  }),
);

export const agentHealthExample: v.InferInput<typeof agentHealth> = {
  agent_id: '01980000-0000-7000-8000-000000000060',
  is_active: true,
  state: 'degraded',
  circuit: 'closed',
  open_until: null,
  note: null,
  heard_at: '2030-01-31T12:00:00.000Z',
  next_probe_at: '2030-01-31T12:00:27.000Z',
  interval_seconds: 30,
  running: 1,
  failures: { probes: 0, calls: 1 },
  latency: { probes: { p50_ms: 12, p95_ms: 40 }, calls: { p50_ms: 850, p95_ms: 2_100 } },
  last_error: {
    message: 'A call brought no answer (upstream_unavailable).',
    source: 'call',
    at: '2030-01-31T11:59:40.000Z',
  },
  history: [
    { at: '2030-01-31T12:00:00.000Z', source: 'probe', ok: true, status: 200, latency_ms: 11, error: null },
    {
      ...{ at: '2030-01-31T11:59:40.000Z', source: 'call', ok: false, status: null, latency_ms: 5_003 },
      error: 'A call brought no answer (upstream_unavailable).',
    },
  ],
};
