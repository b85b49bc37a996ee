import { SutazaiError } from './errors.ts';
import type { Task } from './types.ts';

interface Message<Type extends string, Data> {
  type: Type;
  timestamp: string;
  data: Data;
}

/** What a delivery says, by its `type`. Of a task it is the task without its input, and with its output only where that is small. */
export type WebhookEvent =
  | Message<
      'task.started' | 'task.progress' | 'task.completed' | 'task.failed' | 'task.cancelled' | 'task.expired',
      Omit<Task, 'input' | 'failures'>
    >
  | Message<
      'webhook.disabled',
      { webhook_id: string; name: string | null; url: string; reason: 'gone' | 'failing'; disabled_at: string }
    >
  | Message<'webhook.test', { webhook_id: string; message: string }>;

interface HeaderReader {
  get(name: string): string | null;
}

type GivenHeaders = HeaderReader | Record<string, string | string[] | undefined>;

export interface VerifyOptions {
  /** How far the clock of the sender may be off, in either direction; 300 where it is not said. */
  toleranceSeconds?: number;
  /** The time to compare with, in milliseconds since 1970; now where it is not said. */
  now?: number;
}

/**
 * Checks that a delivery is ours (Standard Webhooks 1.0) and answers what it says. Signatures are compared in constant time.
 * @param body as it came: a body that was parsed and written again has another signature
 * @param secret `whsec_…`, or several while one is being rotated
 * @throws SutazaiError `webhook_invalid` where a header is missing, the time is too far off, or no signature is right
 */
export async function verifyWebhook(
  body: string | Uint8Array,
  headers: GivenHeaders,
  secret: string | readonly string[],
  { toleranceSeconds = 300, now = Date.now() }: VerifyOptions = {},
): Promise<WebhookEvent> {
  const id = headerOf(headers, 'webhook-id');
  const timestamp = headerOf(headers, 'webhook-timestamp');
  const signatures = headerOf(headers, 'webhook-signature');
  if (!id || !timestamp || !signatures)
    throw invalid('The headers webhook-id, webhook-timestamp and webhook-signature have to be there.');
  if (!/^\d{1,12}$/.test(timestamp)) throw invalid('webhook-timestamp is not a time in seconds.');
  if (Math.abs(now / 1000 - Number(timestamp)) > toleranceSeconds)
    throw invalid(`webhook-timestamp is more than ${toleranceSeconds} s away from the clock here.`);

  const text = typeof body === 'string' ? body : new TextDecoder().decode(body);
  const signed = joined(`${id}.${timestamp}.`, body);
  const given = signatures.split(' ').flatMap((one) => (one.startsWith('v1,') ? [bytesOf(one.slice(3))] : []));
  for (const one of [secret].flat()) {
    const key = await keyOf(one);
    for (const signature of given)
      if (signature && (await crypto.subtle.verify('HMAC', key, signature, signed))) return parse(text);
  }
  throw invalid('No signature is right: is this the secret of this endpoint, and the body as it came?');
}

function parse(text: string): WebhookEvent {
  try {
    return JSON.parse(text) as WebhookEvent;
  } catch (cause) {
    throw new SutazaiError('webhook_invalid', 'The body is signed, but it is not JSON.', { cause });
  }
}

function keyOf(secret: string) {
  const bytes = bytesOf(secret.replace(/^whsec_/, ''));
  if (!bytes || bytes.length === 0) throw invalid('The secret is not `whsec_` and base64.');
  return crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify']);
}

function headerOf(headers: GivenHeaders, name: string): string | undefined {
  if (typeof headers.get === 'function') return (headers as HeaderReader).get(name) ?? undefined;
  const found = Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
  return [found as string | string[] | undefined].flat()[0];
}

function joined(prefix: string, body: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const encoder = new TextEncoder();
  const [first, second] = [encoder.encode(prefix), typeof body === 'string' ? encoder.encode(body) : body];
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function invalid(detail: string): SutazaiError {
  return new SutazaiError('webhook_invalid', detail);
}
