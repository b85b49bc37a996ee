import { EgressRefused, type Outbound, type OutboundAnswer } from '../clients/outbound.ts';
import { retryAfterMs } from '../clients/retry-after.ts';
import type { Db } from '../db/connect.ts';
import {
  claimDelivery,
  type DeliveryResult,
  type DeliveryRow,
  postponeDelivery,
  settleDelivery,
} from '../db/deliveries.ts';
import { findTask, listAttempts } from '../db/tasks/read.ts';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { SecretBox } from '../secretbox.ts';
import { cleanText } from '../tasks/clean.ts';
import { LANE_DEFAULTS } from '../tasks/lanes.ts';
import { presentTask } from '../tasks/present.ts';
import { createReceivers } from './receivers.ts';
import { signWebhook } from './sign.ts';

interface Options {
  db: Db;
  outbound: Outbound;
  box: SecretBox;
  publicUrl: string;
  log: Logger;
  /** How long one attempt may take in all. */
  timeoutMs?: number;
  /** How many deliveries there are at a time. */
  places?: number;
}

/** When a delivery is tried again after each failure, in milliseconds; the list of Standard Webhooks. */
const SCHEDULE_MS = ['5s', '5m', '30m', '2h', '5h', '10h', '14h', '20h', '24h'].map(
  (step) => Number(step.slice(0, -1)) * { s: 1_000, m: 60_000, h: 3_600_000 }[step.at(-1) as 's' | 'm' | 'h'],
);
const JITTER = 0.2;
const MAX_RETRY_AFTER_MS = 24 * 3_600_000;
const MAX_OUTPUT_BYTES = 20_000;
const MAX_ANSWER_BYTES = 20_000;
const LEASE_MS = 30_000;

/** Makes the function that sends one delivery. It answers when to try again, or nothing when the delivery has ended. */
export function createDeliverer({
  db,
  outbound,
  box,
  publicUrl,
  log,
  timeoutMs = 15_000,
  places = LANE_DEFAULTS.webhook.concurrency,
}: Options) {
  const receivers = createReceivers(places);

  async function bodyOf(delivery: DeliveryRow): Promise<string> {
    const task = await findTask(db, 'any', delivery.task_id);
    if (!task) throw new Error(`the task ${delivery.task_id} is gone`);
    const { input: _, ...data } = presentTask(task, publicUrl);
    const status = delivery.event.slice('task.'.length);
    // A retried task has moved on, perhaps without an attempt so far: the delivery tells of the end it was made for.
    if (task.attempt !== delivery.task_attempt || task.status !== status) {
      const then = (await listAttempts(db, task.id)).find(({ attempt }) => attempt === delivery.task_attempt);
      Object.assign(data, {
        status,
        attempt: delivery.task_attempt,
        output: null,
        error: then?.error ?? null,
        progress: null,
        model: then?.model ?? null,
        usage: then?.usage ?? null,
        started_at: then?.started_at ?? null,
        completed_at: delivery.created_at,
      });
    }
    if (Buffer.byteLength(JSON.stringify(data.output)) >= MAX_OUTPUT_BYTES) data.output = null;
    return JSON.stringify({
      type: delivery.event,
      // The statement that ended the task made the delivery.
      timestamp: delivery.created_at.toISOString(),
      data,
    });
  }

  async function send(delivery: DeliveryRow): Promise<DeliveryResult> {
    const started = Date.now();
    const measured = (result: Omit<DeliveryResult, 'latencyMs'>) => ({ ...result, latencyMs: Date.now() - started });
    try {
      const body = await bodyOf(delivery);
      const headers = {
        'content-type': 'application/json',
        'user-agent': 'SutazAI-Webhooks/1',
        ...signWebhook(delivery.id, new Date(), body, [box.open(delivery.secret)]),
      };
      const answer = await outbound.post(delivery.url, { headers, body, timeoutMs, maxBytes: MAX_ANSWER_BYTES });
      return measured(judge(answer, delivery.attempt));
    } catch (error) {
      const refused = error instanceof EgressRefused;
      return measured({
        ...(refused ? END : again(delivery.attempt)),
        httpStatus: null,
        error: cleanText(errorMessage(error)),
        response: null,
      });
    }
  }

  return async ({ id, generation }: { id: string; generation: number }): Promise<{ retryInMs: number } | undefined> => {
    const delivery = await claimDelivery(db, id, generation, Math.max(LEASE_MS, timeoutMs * 2));
    if (!delivery) return undefined;
    const entrance = await receivers.enter(delivery.url);
    if ('laterMs' in entrance) {
      await postponeDelivery(db, delivery, entrance.laterMs);
      return { retryInMs: entrance.laterMs };
    }
    const result = await send(delivery).finally(entrance.leave);
    const ours = await settleDelivery(db, delivery, result);
    log.info(
      {
        delivery_id: id,
        task_id: delivery.task_id,
        event: delivery.event,
        attempt: delivery.attempt,
        status: result.httpStatus,
      },
      `webhook ${result.status}`,
    );
    return ours && result.status === 'pending' ? { retryInMs: result.delayMs } : undefined;
  };
}

const END = { status: 'failed', delayMs: 0 } as const;

function judge({ status, headers, body }: OutboundAnswer, attempt: number): Omit<DeliveryResult, 'latencyMs'> {
  const seen = { httpStatus: status, response: cleanText(body) };
  if (status >= 200 && status < 300) return { status: 'delivered', delayMs: 0, error: null, ...seen };
  if (status === 410) return { ...END, error: 'The endpoint is gone (410).', ...seen };
  const redirect = status >= 300 && status < 400 ? ' Redirects are not followed.' : '';
  return {
    ...again(attempt, retryAfterMs(headers['retry-after'], MAX_RETRY_AFTER_MS)),
    error: `The endpoint answered ${status}.${redirect}`,
    ...seen,
  };
}

function again(attempt: number, atLeastMs = 0): Pick<DeliveryResult, 'status' | 'delayMs'> {
  const step = SCHEDULE_MS[attempt - 1];
  if (step === undefined) return END;
  return { status: 'pending', delayMs: Math.max(atLeastMs, Math.round(step * (1 + JITTER * Math.random()))) };
}
