import { isIP } from 'node:net';
import { addressSet } from '../clients/addresses.ts';

/**
 * Says who sent a request: the peer of the socket, or, where that is one of our proxies, the address that the proxies say.
 * `undefined` where neither is an address.
 */
export type ClientAddresses = (peer: string | undefined, forwardedFor: string | undefined) => string | undefined;

/**
 * Makes it. Each proxy adds the address that it was called from on the right of `X-Forwarded-For`, so the right-most one
 * that is not a proxy of ours is the client; what stands left of it is what the client says of itself.
 * @param proxies addresses and CIDRs of the proxies that are believed
 */
export function createClientAddresses(proxies: readonly string[]): ClientAddresses {
  const isProxy = addressSet(proxies);

  return (peer, forwardedFor) => {
    let client = plainAddress(peer ?? '');
    if (!client || proxies.length === 0 || !forwardedFor) return client;
    const hops = forwardedFor.split(',');
    for (let hop = hops.pop(); hop !== undefined && isProxy(client); hop = hops.pop()) {
      const before = plainAddress(hop);
      // A proxy that passes on what is no address knows no better than that it was called.
      if (!before) break;
      client = before;
    }
    return client;
  };
}

/**
 * An address in the one spelling that everything else compares: no zone, no port, no brackets, and an IPv4 address that
 * came through an IPv6 socket as what it is. `undefined` for what is no address.
 */
export function plainAddress(text: string): string | undefined {
  const bare = /^\s*"?\[?([0-9a-fA-F:.]+)(?:%[\w.-]+)?\]?(?::\d{1,5})?"?\s*$/.exec(text.slice(0, 100))?.[1];
  if (!bare) return undefined;
  const [host = ''] = isIP(bare) === 0 ? bare.split(':', 1) : [bare];
  if (isIP(host) === 4) return host;
  if (isIP(host) === 0) return undefined;
  const long = new URL(`http://[${host}]`).hostname.slice(1, -1);
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(long) ?? [];
  if (high === undefined || low === undefined) return long;
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return [a >> 8, a & 255, b >> 8, b & 255].join('.');
}

/** What one customer of a provider has: the address itself, and of IPv6 the /64, in which everybody may choose freely. */
export function networkOf(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = '', tail] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [
    ...left,
    ...Array<string>(tail === undefined ? 0 : 8 - left.length - right.length).fill('0'),
    ...right,
  ];
  return `${groups.slice(0, 4).join(':')}::/64`;
}
