import { type Listing, listing, type PageQuery } from './pages.ts';
import type { Call, CallOptions, Transport } from './transport.ts';

/** An address that hears of all your tasks. */
export interface WebhookEndpoint {
  id: string;
  name: string | null;
  url: string;
  events: string[];
  enabled: boolean;
  /** Its owner said so, it answered 410, or it failed for five days. */
  disabled_reason: 'owner' | 'gone' | 'failing' | null;
  disabled_at: string | null;
  failing_since: string | null;
  last_success_at: string | null;
  previous_secret_until: string | null;
  created_at: string;
  updated_at: string;
}

/** One message to one address. */
export interface Delivery {
  /** The `webhook-id` of the message, in every attempt. */
  id: string;
  event: string;
  webhook_id: string | null;
  task_id: string | null;
  url: string;
  status: 'pending' | 'running' | 'delivered' | 'failed';
  attempt: number;
  next_attempt_at: string | null;
  last_status: number | null;
  last_error: string | null;
  created_at: string;
  completed_at: string | null;
}

export interface DeliveryAttempt {
  attempt: number;
  status: number | null;
  error: string | null;
  response: string | null;
  latency_ms: number;
  at: string;
}

export interface NewWebhook {
  url: string;
  name?: string | null;
  events?: string[];
  enabled?: boolean;
  /** `whsec_…`; one is made where it is not given. */
  secret?: string;
}

type Changes = Omit<NewWebhook, 'url' | 'secret'> & { url?: string };
type DeliveryFilter = PageQuery & { status?: Delivery['status']; event?: string };

/** The calls for webhooks and the messages to them. */
export function webhookCalls(transport: Transport) {
  const path = (id: string, below = '') => `/api/v1/webhooks/${encodeURIComponent(id)}${below}`;
  const send = async <T>(call: Call) => (await transport.send<T>(call)).body;

  return {
    webhooks: {
      list: (query: PageQuery = {}, options?: CallOptions): Listing<WebhookEndpoint> =>
        listing<WebhookEndpoint>(transport, '/api/v1/webhooks', { ...query }, options),

      /** The answer alone shows the secret that was made. */
      create: (webhook: NewWebhook, options: CallOptions & { idempotencyKey?: string } = {}) =>
        send<WebhookEndpoint & { webhook_secret?: string }>({
          ...{ method: 'POST', path: '/api/v1/webhooks', body: webhook, creates: true },
          ...options,
        }),

      get: (id: string, options: CallOptions = {}) =>
        send<WebhookEndpoint>({ method: 'GET', path: path(id), ...options }),

      update: (id: string, changes: Changes, options: CallOptions = {}) =>
        send<WebhookEndpoint>({ method: 'PATCH', path: path(id), body: changes, ...options }),

      delete: (id: string, options: CallOptions = {}) => send<void>({ method: 'DELETE', path: path(id), ...options }),

      /** Sends a test message, once. */
      test: (id: string, options: CallOptions & { idempotencyKey?: string } = {}) =>
        send<Delivery>({ method: 'POST', path: path(id, '/test'), creates: true, ...options }),

      /** A new secret; for a while messages are signed with both. */
      rotateSecret: (id: string, options: CallOptions & { idempotencyKey?: string } = {}) =>
        send<WebhookEndpoint & { webhook_secret: string }>({
          ...{ method: 'POST', path: path(id, '/rotate-secret'), creates: true },
          ...options,
        }),

      /** Sends again what it should have heard since then and did not. Not repeated where the answer is lost. */
      recover: (id: string, since: string | Date, options: CallOptions = {}) =>
        send<{ recovered: number; more: boolean }>({
          ...{ method: 'POST', path: path(id, '/recover'), body: { since }, once: true },
          ...options,
        }),

      deliveries: (id: string, filter: DeliveryFilter = {}, options?: CallOptions): Listing<Delivery> =>
        listing<Delivery>(transport, path(id, '/deliveries'), { ...filter }, options),
    },
    deliveries: {
      get: (id: string, options: CallOptions = {}) =>
        send<Delivery & { attempts: DeliveryAttempt[] }>({
          ...{ method: 'GET', path: `/api/v1/deliveries/${encodeURIComponent(id)}` },
          ...options,
        }),

      /** Sends the message again, now, under the same `webhook-id`. Not repeated where the answer is lost. */
      resend: (id: string, options: CallOptions = {}) =>
        send<Delivery>({
          ...{ method: 'POST', path: `/api/v1/deliveries/${encodeURIComponent(id)}/resend`, once: true },
          ...options,
        }),
    },
  };
}
