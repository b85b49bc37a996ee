import * as v from 'valibot';
import { insertAudit } from '../../db/audit.ts';
import type { Db } from '../../db/connect.ts';
import { insertEndpointDelivery } from '../../db/delivery-log.ts';
import { newId } from '../../db/ids.ts';
import { endWaitingDeliveries } from '../../db/webhook-disable.ts';
import {
  ENDPOINT_DISABLED,
  ENDPOINT_REMOVED,
  type EndpointRow,
  insertEndpoint,
  listEndpoints,
  removeEndpoint,
  rotateSecret,
  TEST_EVENT,
  updateEndpoint,
} from '../../db/webhook-endpoints.ts';
import { ProblemError } from '../../errors.ts';
import type { Dispatcher } from '../../queues/dispatcher.ts';
import type { SecretBox } from '../../secretbox.ts';
import { maxCharacters } from '../../tasks/schemas.ts';
import { ENDPOINT_EVENTS, USUAL_EVENTS } from '../../webhooks/events.ts';
import { isWebhookSecret, newWebhookSecret } from '../../webhooks/sign.ts';
import { answers, answersNothing, pageOf } from '../answer.ts';
import type { AuditAction, Trail } from '../audit.ts';
import { defineRoute, type Route } from '../route.ts';
import {
  delivery,
  newWebhook,
  pendingDeliveryExample,
  rotatedWebhook,
  webhook,
  webhookExample,
} from '../shapes/webhook.ts';
import { invalid, pageQuery } from '../validate.ts';
import { noSuchWebhook, presentDelivery, presentEndpoint, readEndpoint, wakeDeliveries } from './webhook-shared.ts';

interface Options {
  db: Db;
  dispatcher: Dispatcher;
  box: SecretBox;
  /** What is wrong with a URL that users want to be called. */
  checkUrl: (url: string) => string | undefined;
  /** How many endpoints a user may have, and how long the secret before one signs too. */
  webhooks: { maxEndpoints: number; overlapSeconds: number };
}

const fields = {
  name: v.nullable(v.pipe(v.string(), v.trim(), maxCharacters(100))),
  url: v.pipe(v.string(), maxCharacters(2048)),
  events: v.pipe(
    v.array(v.picklist(ENDPOINT_EVENTS, `must be one of ${ENDPOINT_EVENTS.join(', ')}`)),
    v.minLength(1, 'must name at least one event'),
    v.maxLength(ENDPOINT_EVENTS.length, 'must name each event once'),
  ),
  enabled: v.boolean(),
};

const newEndpoint = v.strictObject({
  name: v.optional(fields.name, null),
  url: fields.url,
  events: v.optional(fields.events, [...USUAL_EVENTS]),
  enabled: v.optional(fields.enabled, true),
  secret: v.optional(v.pipe(v.string(), v.check(isWebhookSecret, 'must be whsec_ and 24–64 bytes in base64'))),
});

const change = v.partial(v.strictObject(fields));

/** The addresses of the one who asks that hear of all their tasks. */
export function webhookRoutes({ db, dispatcher, box, checkUrl, webhooks }: Options): Route[] {
  const { maxEndpoints, overlapSeconds } = webhooks;

  function refuseWrongUrl(url: string | undefined): void {
    const detail = url === undefined ? undefined : checkUrl(url);
    if (detail) throw invalid([{ pointer: '#/url', detail }]);
  }

  /** Does something to an endpoint, and writes it into the audit log in the same transaction. @throws ProblemError `not_found` */
  async function act(
    action: AuditAction,
    trail: Trail,
    work: (trx: Db) => Promise<EndpointRow | undefined>,
    details?: object,
  ): Promise<EndpointRow> {
    const row = await db.transaction().execute(async (trx) => {
      const changed = await work(trx);
      if (changed) await insertAudit(trx, [trail.entry({ action, ...about(changed, details) })]);
      return changed;
    });
    if (!row) throw noSuchWebhook();
    return row;
  }

  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/webhooks',
      summary: 'List my webhooks, newest first',
      query: v.strictObject(pageQuery),
      answers: { 200: answers('A page of webhooks.', pageOf(webhook), { data: [webhookExample], next_cursor: null }) },
      handle: async ({ query, principal }) => {
        const { rows, next } = await listEndpoints(db, principal.userId, query);
        return { status: 200, body: { data: rows.map(presentEndpoint), next_cursor: next } };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/webhooks',
      summary: 'Let a URL hear of all my tasks; the secret is shown in this one answer',
      idempotent: 'answer',
      body: newEndpoint,
      example: { name: 'my app', url: 'https://example.com/hooks', events: ['task.completed', 'task.failed'] },
      answers: {
        201: answers('The webhook.', newWebhook, { ...webhookExample, webhook_secret: 'whsec_C2FVsBQIhrscChlQIMV…' }, [
          'Location',
          'Cache-Control',
          'Idempotency-Replayed',
        ]),
      },
      problems: ['limit_reached'],
      handle: async ({ body, principal, trail, base }) => {
        refuseWrongUrl(body.url);
        const { secret = newWebhookSecret(), events, ...given } = body;
        const row = await db.transaction().execute(async (trx) => {
          const endpoint = { ...given, id: newId(), user_id: principal.userId, events: [...new Set(events)] };
          const stored = await insertEndpoint(trx, { ...endpoint, secret: box.seal(secret) }, maxEndpoints);
          if (stored) await insertAudit(trx, [trail.entry({ action: 'webhook.create', ...about(stored) })]);
          return stored;
        });
        if (!row)
          throw new ProblemError(
            'limit_reached',
            `You have ${maxEndpoints} webhooks, which is the most. Remove one first.`,
          );
        return {
          status: 201,
          body: { ...presentEndpoint(row), ...(body.secret ? {} : { webhook_secret: secret }) },
          headers: { Location: `${base}/api/v1/webhooks/${row.id}`, 'Cache-Control': 'no-store' },
        };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/api/v1/webhooks/:id',
      summary: 'Read a webhook',
      answers: { 200: answers('The webhook.', webhook, webhookExample) },
      handle: async ({ params, principal }) => ({
        status: 200,
        body: presentEndpoint(await readEndpoint(db, principal, params.id)),
      }),
    }),
    defineRoute({
      method: 'PATCH',
      path: '/api/v1/webhooks/:id',
      summary: 'Change a webhook, disable it, or enable it again',
      body: change,
      example: { enabled: false },
      answers: { 200: answers('The webhook as it is now.', webhook, webhookExample) },
      handle: async ({ params, body, principal, trail }) => {
        const before = await readEndpoint(db, principal, params.id);
        refuseWrongUrl(body.url);
        const wanted = { ...body, ...(body.events ? { events: [...new Set(body.events)] } : {}) };
        const row = await act(
          'webhook.update',
          trail,
          (trx) => updateEndpoint(trx, principal.userId, before.id, wanted),
          { changed: Object.keys(body) },
        );
        if (!row.enabled) await endWaitingDeliveries(db, row.id, ENDPOINT_DISABLED);
        return { status: 200, body: presentEndpoint(row) };
      },
    }),
    defineRoute({
      method: 'DELETE',
      path: '/api/v1/webhooks/:id',
      summary: 'Remove a webhook; what waits for it is not sent any more',
      answers: { 204: answersNothing('The webhook is gone.') },
      handle: async ({ params, principal, trail }) => {
        const { id } = await readEndpoint(db, principal, params.id);
        await act('webhook.delete', trail, (trx) => removeEndpoint(trx, principal.userId, id));
        await endWaitingDeliveries(db, id, ENDPOINT_REMOVED);
        return { status: 204 };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/webhooks/:id/test',
      summary: 'Send a test message to a webhook, once, also while it is disabled',
      idempotent: 'answer',
      answers: {
        202: answers(
          'The message is on its way; GET /api/v1/deliveries/{id} shows what comes of it.',
          delivery,
          { ...pendingDeliveryExample, event: TEST_EVENT, task_id: null },
          ['Location', 'Idempotency-Replayed'],
        ),
      },
      handle: async ({ params, principal, requestId, base }) => {
        const endpoint = await readEndpoint(db, principal, params.id);
        const data = { webhook_id: endpoint.id, message: 'A test: this address receives the webhooks of SutazAI.' };
        const row = await insertEndpointDelivery(db, endpoint, TEST_EVENT, data);
        await wakeDeliveries(dispatcher, [row], requestId);
        const headers = { Location: `${base}/api/v1/deliveries/${row.id}` };
        return { status: 202, body: presentDelivery(row), headers };
      },
    }),
    defineRoute({
      method: 'POST',
      path: '/api/v1/webhooks/:id/rotate-secret',
      summary: 'Give a webhook a new secret; for a while messages are signed with both',
      idempotent: 'answer',
      answers: {
        200: answers(
          'The webhook with its new secret.',
          rotatedWebhook,
          {
            ...webhookExample,
            previous_secret_until: '2030-02-01T12:00:00.000Z',
            webhook_secret: 'whsec_C2FVsBQIhrscChlQIMV…',
          },
          ['Cache-Control', 'Idempotency-Replayed'],
        ),
      },
      handle: async ({ params, principal, trail }) => {
        const { id } = await readEndpoint(db, principal, params.id);
        const secret = newWebhookSecret();
        const row = await act('webhook.rotate_secret', trail, (trx) =>
          rotateSecret(trx, principal.userId, id, box.seal(secret), overlapSeconds),
        );
        return {
          status: 200,
          body: { ...presentEndpoint(row), webhook_secret: secret },
          headers: { 'Cache-Control': 'no-store' },
        };
      },
    }),
  ];
}

/** For the audit log; a path and a query of a URL may be secrets, so only its host. */
function about({ id, name, url, enabled }: EndpointRow, details: object = {}) {
  return { object: { type: 'webhook', id }, details: { name, host: new URL(url).host, enabled, ...details } };
}
