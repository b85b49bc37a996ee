import { EgressRefused, type Outbound, type OutboundAnswer } from '../clients/outbound.ts';
import { retryAfterMs } from '../clients/retry-after.ts';
import { errorCode, isUnreachable } from '../clients/upstream.ts';
import type { Db } from '../db/connect.ts';
import {
  type ClaimedDelivery,
  claimDelivery,
  type DeliveryResult,
  postponeDelivery,
  settleDelivery,
} from '../db/deliveries.ts';
import { disableEndpoint, endWaitingDeliveries } from '../db/webhook-disable.ts';
import { DISABLED_EVENT, ENDPOINT_DISABLED, TEST_EVENT } from '../db/webhook-endpoints.ts';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { SecretBox } from '../secretbox.ts';
import { cleanText } from '../tasks/clean.ts';
import { LANE_DEFAULTS } from '../tasks/lanes.ts';
import { metrics } from '../telemetry/metrics.ts';
import { type Described, inSpan, say } from '../telemetry/tracing.ts';
import { bodyOf } from './body.ts';
import { createReceivers } from './receivers.ts';
import { signWebhook } from './sign.ts';

interface Options {
  db: Db;
  outbound: Outbound;
  box: SecretBox;
  publicUrl: string;
  log: Logger;
  /** Puts deliveries that were stored here into their lane. */
  wake: (event: string, deliveries: string[]) => void;
  /** How long one attempt may take in all. */
  timeoutMs?: number;
  /** How many deliveries there are at a time. */
  places?: number;
}

/**
 * Sends one delivery. Answers when to try again, or nothing when the delivery has ended.
 * @param stop breaks the attempt off; the delivery is then given back as if it had not been made
 */
export type Deliver = (
  delivery: { id: string; generation: number },
  stop?: AbortSignal,
) => Promise<{ retryInMs: number } | undefined>;

/** When a delivery is tried again after each failure, in milliseconds; the list of Standard Webhooks. */
const SCHEDULE_MS = ['5s', '5m', '30m', '2h', '5h', '10h', '14h', '20h', '24h'].map(
  (step) => Number(step.slice(0, -1)) * { s: 1_000, m: 60_000, h: 3_600_000 }[step.at(-1) as 's' | 'm' | 'h'],
);
const JITTER = 0.2;
const MAX_RETRY_AFTER_MS = 24 * 3_600_000;
const MAX_ANSWER_BYTES = 20_000;
const LEASE_MS = 30_000;
const GONE = 410;

/** Makes it. */
export function createDeliverer({
  db,
  outbound,
  box,
  publicUrl,
  log,
  wake,
  timeoutMs = 15_000,
  places = LANE_DEFAULTS.webhook.concurrency,
}: Options): Deliver {
  const receivers = createReceivers(places);

  async function send(delivery: ClaimedDelivery, stop: AbortSignal | undefined): Promise<DeliveryResult> {
    const started = Date.now();
    const measured = (result: Omit<DeliveryResult, 'latencyMs'>) => ({ ...result, latencyMs: Date.now() - started });
    // Outside: that our database is away is no failure of the receiver.
    const body = await bodyOf(db, delivery, publicUrl);
    try {
      const headers = {
        'content-type': 'application/json',
        'user-agent': 'SutazAI-Webhooks/1',
        ...signWebhook(delivery.id, new Date(), body, delivery.secrets.map(box.open)),
      };
      const call = { headers, body, timeoutMs, maxBytes: MAX_ANSWER_BYTES, ...(stop ? { signal: stop } : {}) };
      return measured(judge(await outbound.post(delivery.url, call), delivery));
    } catch (error) {
      const refused = error instanceof EgressRefused;
      return measured({
        ...(refused ? END : again(delivery)),
        httpStatus: null,
        error: cleanText(refused ? error.message : failureOf(error)),
        response: null,
      });
    }
  }

  async function disable(id: string, reason: 'gone' | 'failing'): Promise<void> {
    const disabled = await disableEndpoint(db, id, reason);
    if (!disabled) return;
    metrics.endpointsDisabled.inc({ reason });
    log.warn({ webhook_id: id, user_id: disabled.endpoint.user_id, reason }, 'a webhook was disabled');
    wake(DISABLED_EVENT, disabled.deliveries);
    await endWaitingDeliveries(db, id, ENDPOINT_DISABLED);
  }

  async function giveBack(delivery: ClaimedDelivery, retryInMs: number): Promise<{ retryInMs: number }> {
    metrics.deliveries.inc({ outcome: 'released' });
    await postponeDelivery(db, delivery, retryInMs);
    return { retryInMs };
  }

  async function attempt(
    delivery: ClaimedDelivery,
    stop: AbortSignal | undefined,
  ): Promise<{ retryInMs: number } | undefined> {
    const entrance = await receivers.enter(delivery.url, {
      endpoint: delivery.endpoint_id,
      failing: delivery.failing,
    });
    if ('laterMs' in entrance) return giveBack(delivery, entrance.laterMs);
    const result = stop?.aborted ? undefined : await send(delivery, stop).finally(entrance.leave);
    if (!result) entrance.leave();
    // An answer that came all the same counts.
    if (!result || (stop?.aborted && result.httpStatus === null)) return giveBack(delivery, 0);
    const settled = await settleDelivery(db, delivery, result);
    log.info(
      {
        delivery_id: delivery.id,
        task_id: delivery.task_id,
        event: delivery.event,
        attempt: delivery.attempt,
        status: result.httpStatus,
      },
      `webhook ${result.status}`,
    );
    if (!settled) return undefined;
    const outcome = result.status === 'pending' ? 'retry' : result.status;
    metrics.deliveries.inc({ outcome });
    metrics.deliveryDuration.observe(result.latencyMs / 1_000);
    say({ 'sutazai.delivery.outcome': outcome }, outcome === 'delivered' ? undefined : outcome);
    const reason = result.httpStatus === GONE ? 'gone' : settled.failedTooLong ? 'failing' : undefined;
    if (reason && delivery.endpoint_id) await disable(delivery.endpoint_id, reason);
    return result.status === 'pending' ? { retryInMs: result.delayMs } : undefined;
  }

  return async ({ id, generation }, stop) => {
    const delivery = await claimDelivery(db, id, generation, Math.max(LEASE_MS, timeoutMs * 2));
    return (
      delivery &&
      inSpan(
        () => delivering(delivery),
        () => attempt(delivery, stop),
      )
    );
  };
}

function delivering({ id, event, attempt, traceparent }: ClaimedDelivery): Described {
  return {
    name: 'process webhook',
    kind: 'consumer',
    parent: traceparent,
    attributes: {
      'messaging.system': 'bullmq',
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      'messaging.destination.name': 'webhook',
      'messaging.message.id': id,
      'sutazai.delivery.event': event,
      'sutazai.delivery.attempt': attempt,
    },
  };
}

/** Why there was no answer. Where there is a code, only that: the text would name the address behind the URL, which is not its owner's to know. */
function failureOf(error: unknown): string {
  const code = errorCode(error);
  if (code === undefined) return errorMessage(error);
  return isUnreachable(error) ? `The endpoint gave no answer (${code}).` : `The call of the endpoint failed (${code}).`;
}

const END = { status: 'failed', delayMs: 0 } as const;

function judge(
  { status, headers, body }: OutboundAnswer,
  delivery: ClaimedDelivery,
): Omit<DeliveryResult, 'latencyMs'> {
  const seen = { httpStatus: status, response: cleanText(body) };
  if (status >= 200 && status < 300) return { status: 'delivered', delayMs: 0, error: null, ...seen };
  if (status === GONE) return { ...END, error: 'The endpoint is gone (410).', ...seen };
  const redirect = status >= 300 && status < 400 ? ' Redirects are not followed.' : '';
  return {
    ...again(delivery, retryAfterMs(headers['retry-after'], MAX_RETRY_AFTER_MS)),
    error: `The endpoint answered ${status}.${redirect}`,
    ...seen,
  };
}

/** Whoever asks for a test looks at what came of it, so it is tried once. */
function again(
  { attempt, schedule_from, event }: ClaimedDelivery,
  atLeastMs = 0,
): Pick<DeliveryResult, 'status' | 'delayMs'> {
  const step = event === TEST_EVENT ? undefined : SCHEDULE_MS[attempt - schedule_from - 1];
  if (step === undefined) return END;
  return { status: 'pending', delayMs: Math.max(atLeastMs, Math.round(step * (1 + JITTER * Math.random()))) };
}
