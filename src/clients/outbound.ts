import { type LookupAddress, type LookupAllOptions, lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { buildConnector, Client } from 'undici';
import { type Described, failed, inPart, traceHeaders } from '../telemetry/tracing.ts';
import { createAddressRules, normalHost } from './addresses.ts';

/** Why a URL of a user was not called. The text names the setting that would allow it. */
export class EgressRefused extends Error {
  override readonly name = 'EgressRefused';
}

export interface OutboundAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  /** The first part of the body, at most the cap, as UTF-8; it is never unpacked. */
  body: string;
  /** The same as it came, where that was asked for; `body` is empty then. */
  bytes?: Uint8Array;
  /** Whether there was more of it. */
  cut: boolean;
}

/** Hears the pieces of a body, at most so many bytes; what it throws ends the call. */
export interface BodyListener {
  hear(piece: Uint8Array): void;
  /** The body came whole. */
  end?(): void;
  maxBytes: number;
}

export interface OutboundCall {
  method: string;
  headers: Record<string, string>;
  body?: string;
  /** Ends the call and closes its connection, at whatever stage it is. There is no other bound in time but that of connecting. */
  signal: AbortSignal;
  /** How much of the body is read when the answer has this status; at the next byte the connection is closed. */
  maxBytes: (status: number) => number;
  /** Whether the body is wanted as bytes when the answer has this status. */
  asBytes?: (status: number) => boolean;
  /** Who hears the body as it comes, where somebody wants to of such an answer: then it is not kept. */
  listener?: (status: number, headers: OutboundAnswer['headers']) => BodyListener | undefined;
}

/** Calls URLs that users gave: no private addresses, no redirects, bounded in time and size. */
export interface Outbound {
  /** @throws EgressRefused for what may not be called; other errors when nobody answers */
  request(url: string, call: OutboundCall): Promise<OutboundAnswer>;
  /** The same for a message whose answer hardly matters: bounded in time, and cut without complaint. */
  post(
    url: string,
    call: {
      headers: Record<string, string>;
      body: string;
      timeoutMs: number;
      maxBytes: number;
      /** Ends the call earlier. */
      signal?: AbortSignal;
    },
  ): Promise<OutboundAnswer>;
  /** Says at the door what is wrong with a URL, as far as that can be said without DNS. */
  check(url: string): string | undefined;
  close(): Promise<void>;
}

/** Asks for all addresses of a name, as `lookup` of `node:dns` does. */
export type Resolve = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

const CONNECT_TIMEOUT_MS = 5_000;
const MAX_HEADER_BYTES = 16_384;

/**
 * Makes the client.
 * @param allow CIDRs, addresses or host names that may be called although they are private
 * @param resolve how names become addresses
 */
export function createOutbound(allow: readonly string[], resolve: Resolve = systemLookup): Outbound {
  const rules = createAddressRules(allow);

  const lookup: LookupFunction = (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, '', 0);
      // One private answer among public ones is how a name is rebound: all have to pass.
      const bad = addresses.find(({ address }) => !rules.allows(address, hostname));
      if (bad || !addresses[0]) return callback(refused(hostname), '', 0);
      if (options.all) return callback(null, addresses);
      callback(null, addresses[0].address, addresses[0].family);
    });
  };

  /** Connects for one call. The signal closes what is not connected yet; afterwards undici does. */
  function connector(signal: AbortSignal): buildConnector.connector {
    const connect = buildConnector({ lookup, signal, timeout: CONNECT_TIMEOUT_MS, allowH2: false });
    return (options, callback) => {
      const host = normalHost(options.hostname);
      // A literal address never passes through the lookup.
      if (isIP(host) && !rules.allows(host, host)) return callback(refused(host), null);
      connect(options, (error, socket) => {
        if (error) return callback(error, null);
        if (!rules.allows(socket.remoteAddress ?? '', host)) {
          socket.destroy();
          return callback(refused(host), null);
        }
        callback(null, socket);
      });
    };
  }
  const clients = new Set<Client>();

  function check(url: string): string | undefined {
    if (!URL.canParse(url)) return 'is not a URL';
    const { protocol, hostname, username, password } = new URL(url);
    if (protocol !== 'https:' && protocol !== 'http:') return 'must start with https:// or http://';
    if (username || password) return 'must not hold a user name or password';
    const host = normalHost(hostname);
    if ((isIP(host) && !rules.allows(host, host)) || (isLocalName(host) && !rules.allows('127.0.0.1', host)))
      return leadsInside(host);
    return undefined;
  }

  function request(url: string, call: OutboundCall): Promise<OutboundAnswer> {
    return inPart(
      () => calling(call.method, url),
      async (span) => {
        const answer = await send(url, { ...call, headers: { ...traceHeaders(), ...call.headers } });
        span?.setAttribute('http.response.status_code', answer.status);
        if (answer.status >= 400) failed(span, String(answer.status));
        return answer;
      },
    );
  }

  async function send(url: string, { maxBytes, asBytes, listener, ...call }: OutboundCall): Promise<OutboundAnswer> {
    const wrong = check(url);
    if (wrong) throw new EgressRefused(`The URL ${wrong}`);
    const { signal } = call;
    const { origin, pathname, search } = new URL(url);
    // A client serves one call, as its connection does: the next call asks for the name again.
    const client = new Client(origin, {
      connect: connector(signal),
      maxHeaderSize: MAX_HEADER_BYTES,
      pipelining: 0,
      allowH2: false,
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    clients.add(client);
    try {
      const answer = await client.request({ ...call, path: pathname + search });
      const { statusCode: status, headers } = answer;
      const heardBy = listener?.(status, headers);
      if (heardBy) return { status, headers, body: '', cut: await readTo(heardBy, answer.body) };
      return { status, headers, ...(await readUpTo(answer.body, maxBytes(status), asBytes?.(status))) };
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      clients.delete(client);
      await client.destroy();
    }
  }

  return {
    check,
    request,
    post: (url, { timeoutMs, maxBytes, signal, ...call }) =>
      request(url, {
        ...call,
        method: 'POST',
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])]),
        maxBytes: () => maxBytes,
      }),
    async close() {
      await Promise.all([...clients].map((client) => client.destroy()));
    },
  };
}

/** The first bytes of a body as text. One buffer that grows, because a body may drip in by millions of pieces. */
async function readUpTo(
  body: AsyncIterable<Buffer>,
  maxBytes: number,
  asBytes = false,
): Promise<Pick<OutboundAnswer, 'body' | 'bytes' | 'cut'>> {
  let kept = Buffer.alloc(Math.min(maxBytes, 16_384));
  let bytes = 0;
  for await (const chunk of body) {
    const wanted = Math.min(bytes + chunk.length, maxBytes);
    if (wanted > kept.length) {
      const larger = Buffer.alloc(Math.min(Math.max(wanted, kept.length * 2), maxBytes));
      kept.copy(larger, 0, 0, bytes);
      kept = larger;
    }
    chunk.copy(kept, bytes);
    bytes += chunk.length;
    if (bytes > maxBytes) break;
  }
  const cut = bytes > maxBytes;
  if (asBytes) return { body: '', bytes: kept.subarray(0, Math.min(bytes, maxBytes)), cut };
  // Half a character at the cut is left out.
  return { body: new TextDecoder().decode(kept.subarray(0, Math.min(bytes, maxBytes)), { stream: cut }), cut };
}

/** Hands a body on. @returns whether it was cut */
async function readTo({ hear, end, maxBytes }: BodyListener, body: AsyncIterable<Buffer>): Promise<boolean> {
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) return true;
    hear(chunk);
  }
  end?.();
  return false;
}

/** Whom a span is about. The rest of a URL is its owner's, and often a secret. */
function calling(method: string, url: string): Described {
  const { hostname, port, protocol } = URL.canParse(url) ? new URL(url) : { hostname: '', port: '', protocol: '' };
  return {
    name: method,
    kind: 'client',
    attributes: {
      'http.request.method': method,
      'server.address': hostname,
      'server.port': Number(port) || (protocol === 'http:' ? 80 : 443),
    },
  };
}

function isLocalName(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost');
}

function refused(host: string): EgressRefused {
  return new EgressRefused(`The URL ${leadsInside(host)}`);
}

function leadsInside(host: string): string {
  return `leads to a private address (${host}). An operator can allow it with EGRESS_ALLOW.`;
}
