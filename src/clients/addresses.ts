import { BlockList, isIP } from 'node:net';

/**
 * Ranges that are not the public internet: this host, private and shared networks, link-local (cloud metadata),
 * documentation, benchmarks, multicast, reserved, and the IPv6 ranges that carry IPv4 addresses inside.
 * Sources: the IANA special-purpose address registries (RFC 6890 and what came after).
 */
const SPECIAL = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/128',
  '::1/128',
  '::ffff:0:0/96',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '100::/64',
  '2001::/23',
  '2001:db8::/32',
  '2002::/16',
  '3fff::/20',
  '5f00::/16',
  'fc00::/7',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
];

/** Says which addresses users' URLs may reach. */
export interface AddressRules {
  /** Whether this address may be connected to. `host` is the name it was looked up by. */
  allows(address: string, host: string): boolean;
}

/** Public addresses, and those that `allow` names: CIDRs, single addresses, or host names. @throws Error on a bad entry */
export function createAddressRules(allow: readonly string[]): AddressRules {
  const special = blockList(SPECIAL);
  const hosts = new Set<string>();
  const ranges: string[] = [];
  for (const entry of allow) {
    if (isIP(entry.split('/')[0] ?? '')) ranges.push(entry);
    else hosts.add(normalHost(entry));
  }
  const allowed = blockList(ranges);

  return {
    allows(address, host) {
      const version = isIP(address);
      if (version === 0) return false;
      const family = version === 4 ? 'ipv4' : 'ipv6';
      return hosts.has(normalHost(host)) || allowed.check(address, family) || !special.check(address, family);
    },
  };
}

function blockList(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', bits] = range.split('/');
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return list;
}

/** The host of a URL as a bare name: lower case, no brackets, no trailing dot. */
export function normalHost(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
}
