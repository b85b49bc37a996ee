import * as v from 'valibot';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import type { DeliveryRow } from '../../db/deliveries.ts';
import {
  findDelivery,
  listDeliveries,
  listDeliveryAttempts,
  recoverDeliveries,
  resendDelivery,
} from '../../db/delivery-log.ts';
import { isId } from '../../db/ids.ts';
import { DELIVERY_STATUSES } from '../../db/schema.ts';
import { findTask } from '../../db/tasks/read.ts';
import { TEST_EVENT } from '../../db/webhook-endpoints.ts';
import { ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import { ENDPOINT_EVENTS } from '../../webhooks/events.ts';
import { answers, pageOf } from '../answer.ts';
import { defineRoute, type Principal, type Route } from '../route.ts';
import {
  delivery,
  deliveryAttemptExample,
  deliveryExample,
  deliveryWithAttempts,
  pendingDeliveryExample,
} from '../shapes/webhook.ts';
import { pageQuery, time } from '../validate.ts';
import { noSuchTask } from './task-access.ts';
import { presentDelivery, readEndpoint, wakeDeliveries } from './webhook-shared.ts';

/** How many messages one request sends again, and how many go together. */
const MAX_RECOVERED = 10_000;
const BATCH = 1_000;

const EVENTS = [...ENDPOINT_EVENTS, TEST_EVENT] as const;

const listQuery = v.strictObject({
  ...pageQuery,
  status: v.optional(v.picklist(DELIVERY_STATUSES, `must be one of ${DELIVERY_STATUSES.join(', ')}`)),
  event: v.optional(v.picklist(EVENTS, `must be one of ${EVENTS.join(', ')}`)),
});

const page = {
  200: answers('A page of deliveries.', pageOf(delivery), { data: [deliveryExample], next_cursor: null }),
};

/** The log of webhook messages, and sending them again. */
export function deliveryRoutes({ db, dispatcher }: { db: Db; dispatcher: Dispatcher }): Route[] {
  async function readDelivery(principal: Principal, id = ''): Promise<DeliveryRow> {
    const found = isId(id) ? await findDelivery(db, principal.userId, id) : undefined;
    if (!found) throw new ProblemError('not_found', 'There is no such delivery.');
    return found;
  }

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/webhooks/:id/deliveries',
      summary: 'List the messages to a webhook, newest first',
      query: listQuery,
      answers: page,
      handle: async ({ params, query, principal }) => {
        const { id } = await readEndpoint(db, principal, params.id);
        const { rows, next } = await listDeliveries(db, { of: { endpointId: id }, ...query });
        return { status: 200, body: { data: rows.map(presentDelivery), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/tasks/:id/deliveries',
      summary: 'List the webhook messages about a task of mine, newest first',
      query: listQuery,
      answers: page,
      handle: async ({ params: { id = '' }, query, principal }) => {
        const task = isId(id) ? await findTask(db, { userId: principal.userId }, id) : undefined;
        if (!task) throw noSuchTask();
        const { rows, next } = await listDeliveries(db, { of: { taskId: task.id }, ...query });
        return { status: 200, body: { data: rows.map(presentDelivery), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/deliveries/:id',
      summary: 'Read a webhook message with every attempt to send it',
      answers: {
        200: answers('The delivery.', deliveryWithAttempts, {
          ...deliveryExample,
          attempts: [deliveryAttemptExample],
        }),
      },
      handle: async ({ params, principal }) => {
        const row = await readDelivery(principal, params.id);
        const attempts = (await listDeliveryAttempts(db, row.id)).map(({ delivery_id: _, ...attempt }) => attempt);
        return { status: 200, body: { ...presentDelivery(row), attempts } };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/deliveries/:id/resend',
      summary: 'Send a webhook message again, now, with the same webhook-id',
      answers: { 202: answers('The message is on its way.', delivery, pendingDeliveryExample) },
      problems: ['delivery_running', 'webhook_disabled'],
      handle: async ({ params, principal, requestId }) => {
        const before = await readDelivery(principal, params.id);
        const row = await resendDelivery(db, principal.userId, before.id);
        if (!row) throw await whyNot(principal, before.id);
        await wakeDeliveries(dispatcher, [row], requestId);
        return { status: 202, body: presentDelivery(row) };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/webhooks/:id/recover',
      summary: 'Send again what a webhook should have heard since a time and did not',
      body: v.strictObject({ since: time }),
      example: { since: '2030-01-31T00:00:00Z' },
      answers: {
        202: answers(
          `The messages are on their way: at most ${MAX_RECOVERED} a request, the oldest first.`,
          v.strictObject({
            recovered: v.pipe(v.number(), v.integer()),
            more: v.pipe(v.boolean(), v.description('Whether there are more: send the request again.')),
          }),
          { recovered: 12, more: false },
        ),
      },
      problems: ['webhook_disabled'],
      handle: async ({ params, body, principal, requestId, trail }) => {
        const { id, enabled } = await readEndpoint(db, principal, params.id);
        if (!enabled) throw disabled();
        let recovered = 0;
        let more = false;
        for await (const rows of recoverDeliveries(db, id, body.since, BATCH)) {
          await wakeDeliveries(dispatcher, rows, requestId);
          recovered += rows.length;
          more = rows.length === BATCH;
          if (recovered >= MAX_RECOVERED) break;
        }
        const details = { since: body.since, recovered };
        await insertAudit(db, [trail.entry({ action: 'webhook.recover', object: { type: 'webhook', id }, details })]);
        return { status: 202, body: { recovered, more } };
      },
    }),
  ];

  /** What keeps a delivery from being sent again. */
  async function whyNot(principal: Principal, id: string): Promise<ProblemError> {
    const { status } = await readDelivery(principal, id);
    return status === 'running'
      ? new ProblemError('delivery_running', 'The message is just being sent. Wait for what comes of it.', {
          headers: { 'Retry-After': '15' },
        })
      : disabled();
  }
}

function disabled(): ProblemError {
  return new ProblemError(
    'webhook_disabled',
    'The webhook is disabled or removed. Enable it with PATCH /api/v1/webhooks/{id} and {"enabled": true}.',
  );
}
