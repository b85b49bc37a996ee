import { type LookupAddress, type LookupAllOptions, lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { Agent, buildConnector, request } from 'undici';
import { createAddressRules, normalHost } from './addresses.ts';

/** Why a URL of a user was not called. The text names the setting that would allow it. */
export class EgressRefused extends Error {
  override readonly name = 'EgressRefused';
}

export interface OutboundAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  /** The first part of the body, at most the cap. */
  body: string;
}

/** Calls URLs that users gave: no private addresses, no redirects, bounded in time and size. */
export interface Outbound {
  /** @throws EgressRefused for what may not be called; other errors when nobody answers in time */
  post(
    url: string,
    call: { headers: Record<string, string>; body: string; timeoutMs: number; maxBytes: number },
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

  const connect = buildConnector({ lookup, timeout: 5_000 });
  const agent = new Agent({
    connect(options, callback) {
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
    },
    maxHeaderSize: 16_384,
    pipelining: 0,
  });

  function check(url: string): string | undefined {
    if (!URL.canParse(url)) return 'is not a URL';
    const { protocol, hostname, username, password } = new URL(url);
    if (protocol !== 'https:' && protocol !== 'http:') return 'must start with https:// or http://';
    if (username || password) return 'must not hold a user name or password';
    const host = normalHost(hostname);
    if ((isIP(host) && !rules.allows(host, host)) || (isLocalName(host) && !rules.allows('127.0.0.1', host)))
      return refused(host).message;
    return undefined;
  }

  return {
    check,
    async post(url, { headers, body, timeoutMs, maxBytes }) {
      const wrong = check(url);
      if (wrong) throw new EgressRefused(`The URL ${wrong}`);
      const signal = AbortSignal.timeout(timeoutMs);
      const answer = await request(url, { method: 'POST', headers, body, signal, dispatcher: agent });
      let text = '';
      const decoder = new TextDecoder();
      let bytes = 0;
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        text += decoder.decode(chunk.subarray(0, Math.max(0, chunk.length - Math.max(0, bytes - maxBytes))), {
          stream: true,
        });
        // What is beyond the cap is not read: the connection is given up instead.
        if (bytes >= maxBytes) {
          answer.body.destroy();
          break;
        }
      }
      return { status: answer.statusCode, headers: answer.headers, body: text };
    },
    close: () => agent.destroy(),
  };
}

function isLocalName(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost');
}

function refused(host: string): EgressRefused {
  return new EgressRefused(`leads to a private address (${host}). An operator can allow it with EGRESS_ALLOW.`);
}
