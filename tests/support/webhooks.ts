import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject } from 'vitest';
import { createMessageCheck } from './contract.ts';
import { type Sink, startSink } from './sink.ts';
import { until } from './until.ts';
import { type Client, createWorld, type World } from './world.ts';

export const SECRET = `whsec_${Buffer.alloc(32, 9).toString('base64')}`;

/** A webhook as the API shows it. */
export interface Endpoint {
  id: string;
  url: string;
  events: string[];
  enabled: boolean;
  disabled_reason: string | null;
  failing_since: string | null;
  webhook_secret?: string;
  previous_secret_until: string | null;
}

/** A message in the log, as the API shows it. */
export interface Delivery {
  id: string;
  event: string;
  status: string;
  attempt: number;
  task_id: string | null;
  webhook_id: string | null;
  next_attempt_at: string | null;
  attempts?: Array<{ attempt: number; status: number | null; response: string | null }>;
}

/** The body of a message. */
export interface Message {
  type: string;
  timestamp: string;
  data: Record<string, unknown>;
}

let check: ReturnType<typeof createMessageCheck> | undefined;

/** The message, which has to be as the reference says. */
export function asDescribed(message: Message): Message {
  check ??= createMessageCheck(JSON.parse(inject('openapi')));
  expect(check(message), JSON.stringify(message)).toBeUndefined();
  return message;
}

/** A world for the tests of a file, with a fresh user and a fresh receiver for each, and short ways to ask about webhooks. */
export function useWebhooks(options: Parameters<typeof createWorld>[0] = {}) {
  let world: World;
  let client: Client;
  let sink: Sink;
  beforeAll(async () => {
    world = await createWorld(options);
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    sink = await startSink();
    client = await world.client();
  });
  afterEach(() => sink.close());

  const read = async (id: string) => (await client.request<Delivery>('GET', `/api/v1/deliveries/${id}`)).body;
  return {
    here: {
      get world() {
        return world;
      },
      get client() {
        return client;
      },
      get sink() {
        return sink;
      },
    },
    /** Makes a webhook that leads to the receiver. */
    async make(more: object = {}): Promise<Endpoint> {
      const body = { url: sink.url, secret: SECRET, ...more };
      const answer = await client.request<Endpoint>('POST', '/api/v1/webhooks', body);
      expect(answer.status, JSON.stringify(answer.body)).toBe(201);
      return answer.body;
    },
    /** The n-th message, once the reference library has found its signature good, and the reference what it says. */
    verified(n: number, secret = SECRET): Message {
      const { body, headers } = sink.received[n]!;
      return asDescribed(new Webhook(secret).verify(body, headers as Record<string, string>) as Message);
    },
    heard: (count: number) => until(`${count} messages`, () => sink.received.length >= count),
    /** The messages to a webhook, or about a task, newest first. @param path such as `tasks/<id>` */
    deliveries: async (path: string) =>
      (await client.request<{ data: Delivery[] }>('GET', `/api/v1/${path}/deliveries`)).body.data,
    read,
    /** The message once it is no longer waiting or under way. */
    ended: (id: string) =>
      until('the delivery has ended', async () => {
        const found = await read(id);
        return ['delivered', 'failed'].includes(found.status) && found;
      }),
    /** The message once it waits for another attempt. */
    waiting: (id: string, attempt = 1) =>
      until('another attempt is due', async () => {
        const found = await read(id);
        return found.status === 'pending' && found.attempt === attempt && found;
      }),
    endpoint: async (id: string) => (await client.request<Endpoint>('GET', `/api/v1/webhooks/${id}`)).body,
  };
}
