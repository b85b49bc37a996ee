import { type Listing, listing } from './pages.ts';
import type { Call, CallOptions, Transport } from './transport.ts';
import type { Task } from './types.ts';

/** A model that the hosts have; what else it says is theirs. */
export interface ModelInfo {
  name: string;
  digest: string;
  /** In bytes. */
  size: number;
  family: string;
  capabilities: string[];
  context_length: number | null;
  /** Who has it, by label. */
  hosts: Array<{ host: string; digest: string; loaded: boolean; up: boolean }>;
  default_for: Array<'completion' | 'embedding'>;
  [more: string]: unknown;
}

/** A model to be brought to all hosts, or to those with these labels. */
export interface Pull {
  model: string;
  hosts?: string[];
}

/** The calls for models. */
export function modelCalls(transport: Transport) {
  const path = (name: string) => `/api/v1/models/${encodeURIComponent(name)}`;
  const send = async <T>(call: Call) => (await transport.send<T>(call)).body;

  return {
    list: (options?: CallOptions): Listing<ModelInfo> => listing<ModelInfo>(transport, '/api/v1/models', {}, options),

    get: (name: string, options: CallOptions = {}) => send<ModelInfo>({ method: 'GET', path: path(name), ...options }),

    /** For operators. Answers the task that does it. */
    pull: (pull: Pull, options: CallOptions & { idempotencyKey?: string } = {}) =>
      send<Task>({ method: 'POST', path: '/api/v1/models/pull', body: pull, creates: true, ...options }),

    /** For operators. Deletes it from every host that has it. */
    delete: (name: string, options: CallOptions = {}) => send<void>({ method: 'DELETE', path: path(name), ...options }),
  };
}
