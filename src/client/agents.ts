import { type Listing, listing, type PageQuery } from './pages.ts';
import type { Call, CallOptions, Transport } from './transport.ts';

export type AgentType = 'http' | 'a2a' | 'openai' | 'ollama';

/** Somebody else who does work. What is inside is `null` in one that you may use, but not change. */
export interface Agent {
  id: string;
  /** Whose it is; `null` where it is everybody's. */
  user_id: string | null;
  name: string;
  type: AgentType;
  description: string | null;
  endpoint: string | null;
  port: number | null;
  is_active: boolean;
  capabilities: string[];
  config: Record<string, unknown> | null;
  /** What its secrets are called; their values are in no answer. */
  secret_names: string[] | null;
  created_at: string;
  updated_at: string;
}

export interface NewAgent {
  name: string;
  type: AgentType;
  /** Not of the type `ollama`, which is a model of the server's own hosts. */
  endpoint?: string;
  port?: number | null;
  description?: string | null;
  is_active?: boolean;
  capabilities?: string[];
  config?: Record<string, unknown>;
  /** Values by name, for `${{ secrets.name }}` in the configuration. */
  secrets?: Record<string, string>;
  /** Whether it is everybody's. */
  shared?: boolean;
}

/** Of the secrets those that are not named stay; `null` forgets one. */
export type AgentChanges = Partial<Omit<NewAgent, 'type' | 'shared' | 'secrets'>> & {
  secrets?: Record<string, string | null>;
};

/** How an agent is; messages are `null` in one that you may use, but not change. */
export interface AgentHealth {
  agent_id: string;
  is_active: boolean;
  state: 'healthy' | 'degraded' | 'down' | 'unknown';
  /** An `open` one turns calls away; a `half_open` one lets a probe and one call at a time find out. */
  circuit: 'closed' | 'open' | 'half_open';
  open_until: string | null;
  note: string | null;
  heard_at: string | null;
  next_probe_at: string | null;
  interval_seconds: number | null;
  /** Calls under way, over all workers. */
  running: number;
  /** One after the other, until now. */
  failures: { probes: number; calls: number };
  latency: Record<'probes' | 'calls', { p50_ms: number | null; p95_ms: number | null }>;
  last_error: { message: string | null; source: 'probe' | 'call'; at: string } | null;
  /** The last outcomes, newest first. */
  history: Array<{
    at: string;
    source: 'probe' | 'call';
    ok: boolean;
    status: number | null;
    latency_ms: number;
    error: string | null;
  }>;
}

type AgentFilter = PageQuery & { type?: AgentType; capability?: string };

/** The calls for agents. Each is named by its id or its name. */
export function agentCalls(transport: Transport) {
  const path = (agent: string, below = '') => `/api/v1/agents/${encodeURIComponent(agent)}${below}`;
  const send = async <T>(call: Call) => (await transport.send<T>(call)).body;

  return {
    list: (filter: AgentFilter = {}, options?: CallOptions): Listing<Agent> =>
      listing<Agent>(transport, '/api/v1/agents', { ...filter }, options),

    create: (agent: NewAgent, options: CallOptions & { idempotencyKey?: string } = {}) =>
      send<Agent>({ method: 'POST', path: '/api/v1/agents', body: agent, creates: true, ...options }),

    get: (agent: string, options: CallOptions = {}) => send<Agent>({ method: 'GET', path: path(agent), ...options }),

    update: (agent: string, changes: AgentChanges, options: CallOptions = {}) =>
      send<Agent>({ method: 'PATCH', path: path(agent), body: changes, ...options }),

    /** How it is, true within one interval. @param options.history how many of its last outcomes are answered */
    health: (agent: string, { history, ...options }: CallOptions & { history?: number } = {}) =>
      send<AgentHealth>({ method: 'GET', path: path(agent, '/health'), query: { history }, ...options }),

    /** Asks it now how it is. */
    check: (agent: string, options: CallOptions = {}) =>
      send<AgentHealth>({ method: 'POST', path: path(agent, '/check'), ...options }),

    /** The tasks that it has done stay. */
    delete: (agent: string, options: CallOptions = {}) =>
      send<void>({ method: 'DELETE', path: path(agent), ...options }),
  };
}
