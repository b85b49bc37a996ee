import { TaskError } from '../../errors.ts';

/** Where and how an A2A agent is spoken to. */
export interface A2aInterface {
  url: string;
  binding: 'JSONRPC' | 'HTTP+JSON';
  version: '1.0' | '0.3';
  /** A word of the agent's own, which belongs into every request to this interface. */
  tenant?: string;
  /** Whether it can call back. */
  push: boolean;
}

type Fields = Record<string, unknown>;

/**
 * Reads the card of an agent (A2A 1.0, 8.3, and 0.3, 5.6) and takes the first interface that is known here: JSON-RPC of both versions,
 * HTTP+JSON of 1.0. A card is an answer, so it does not choose whom we call: only what is of the origin of the endpoint counts.
 * @throws TaskError `upstream_protocol` for what is no card, or has nothing that fits
 */
export function readCard(text: string, endpoint: string): A2aInterface {
  const card = fieldsOf(parse(text));
  const offers = offersOf(card);
  if (offers.length === 0) throw wrong('Its agent card names no interface.');
  const known = offers.flatMap((offer) => knownOf(offer) ?? []);
  if (known.length === 0)
    throw wrong('Its agent card has no interface that is known here: JSONRPC of A2A 1.0 or 0.3, or HTTP+JSON of 1.0.');
  const { origin } = new URL(endpoint);
  const own = known.find(({ url }) => originOf(url, endpoint) === origin);
  if (!own)
    throw wrong(
      `Its agent card leads to ${shortened(known[0]?.url)}, which is not of ${origin}. Where that is right, make it the endpoint of the agent.`,
    );
  const push = fieldsOf(card.capabilities).pushNotifications === true;
  return { ...own, url: new URL(own.url, endpoint).href.replace(/\/+$/, ''), push };
}

interface Offer {
  url: unknown;
  binding: unknown;
  version: unknown;
  tenant?: unknown;
}

/** The interfaces in the order in which the agent prefers them. */
function offersOf(card: Fields): Offer[] {
  const listed = listOf(card.supportedInterfaces).map(({ url, protocolBinding, protocolVersion, tenant }) => ({
    ...{ url, binding: protocolBinding, version: protocolVersion, tenant },
  }));
  if (listed.length > 0 || card.url === undefined) return listed;
  const version = card.protocolVersion;
  const others = listOf(card.additionalInterfaces).map(({ url, transport }) => ({ url, binding: transport, version }));
  return [{ url: card.url, binding: card.preferredTransport ?? 'JSONRPC', version }, ...others];
}

function knownOf({ url, binding, version, tenant }: Offer): Omit<A2aInterface, 'push'> | undefined {
  if (typeof url !== 'string' || typeof version !== 'string') return undefined;
  const more = typeof tenant === 'string' && tenant !== '' ? { tenant } : {};
  const [major, minor] = version.split('.');
  if (major === '1' && (binding === 'JSONRPC' || binding === 'HTTP+JSON'))
    return { url, binding, version: '1.0', ...more };
  if (major === '0' && minor === '3' && binding === 'JSONRPC') return { url, binding, version: '0.3' };
  return undefined;
}

function originOf(url: string, endpoint: string): string | undefined {
  if (!URL.canParse(url, endpoint)) return undefined;
  const { origin, username, password } = new URL(url, endpoint);
  return username === '' && password === '' ? origin : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw wrong('Its agent card is no JSON.', cause);
  }
}

function wrong(what: string, cause?: unknown): TaskError {
  return new TaskError('upstream_protocol', what, { cause });
}

function shortened(text = ''): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/** The fields of what should be an object. */
export function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

/** The objects in what should be a list of them. */
export function listOf(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(fieldsOf) : [];
}
