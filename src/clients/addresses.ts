import { BlockList, isIP } from 'node:net';

/**
 * Ranges that are not the public internet: this host, private and shared networks, link-local (cloud metadata),
 * documentation, benchmarks, multicast, reserved, and the IPv6 ranges that carry IPv4 addresses inside
 * (`::/96` holds `::` and `::1` as well).
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
  '::/96',
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
  const special = addressSet(SPECIAL);
  const hosts = new Set<string>();
  const ranges: string[] = [];
  for (const entry of allow) {
    if (isIP(entry.split('/')[0] ?? '')) ranges.push(entry);
    else hosts.add(normalHost(entry));
  }
  const allowed = addressSet(ranges);

  return {
    allows: (address, host) =>
      isIP(address) !== 0 && (hosts.has(normalHost(host)) || allowed(address) || !special(address)),
  };
}

/** Says whether an address is in one of the ranges: CIDRs and single addresses. */
export function addressSet(ranges: readonly string[]): (address: string) => boolean {
  // One list a family: a single one takes every IPv4 address for a part of ::ffff:0:0/96.
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  const familyOf = (address: string) => (isIP(address) === 4 ? 'ipv4' : 'ipv6');
  for (const range of ranges) {
    const [address = '', bits] = range.split('/');
    const family = familyOf(address);
    if (bits === undefined) lists[family].addAddress(address, family);
    else lists[family].addSubnet(address, Number(bits), family);
  }
  return (address) => lists[familyOf(address)].check(address, familyOf(address));
}

/** The host of a URL as a bare name: lower case, no brackets, no trailing dot. */
export function normalHost(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
}
