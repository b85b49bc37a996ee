import { describe, expect, it } from 'vitest';
import { createAddressRules } from '../../src/clients/addresses.ts';
import { createOutbound } from '../../src/clients/outbound.ts';
import { PRIVATE, SPELLINGS } from '../support/private-urls.ts';

/** Addresses of the public internet, many of them just beside a range above. */
const PUBLIC = [
  ...['1.0.0.0', '1.1.1.1', '8.8.8.8', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255'],
  ...['128.0.0.0', '169.253.255.255', '169.255.0.0', '172.15.255.255', '172.32.0.0', '192.0.1.0', '192.167.255.255'],
  ...['192.169.0.0', '198.17.255.255', '198.20.0.0', '203.0.112.255', '223.255.255.255'],
  ...['2001:200::1', '2001:4860:4860::8888', '2003::1', '2606:4700:4700::1111', '2a00:1450::1'],
];

const hostOf = (address: string) => (address.includes(':') ? `[${address}]` : address);

describe('the guard of outgoing calls', () => {
  const outbound = createOutbound([]);

  it.each(PRIVATE)('S34: refuses the %s range from %s to %s', (_, first, last) => {
    for (const address of [first, last]) {
      expect(outbound.check(`http://${hostOf(address)}/`), address).toContain('EGRESS_ALLOW');
      expect(createAddressRules([]).allows(address, 'example.com'), address).toBe(false);
    }
  });

  it.each(PUBLIC)('lets calls to %s through', (address) => {
    expect(outbound.check(`https://${hostOf(address)}/hook`)).toBeUndefined();
    expect(createAddressRules([]).allows(address, 'example.com')).toBe(true);
  });

  it.each(SPELLINGS)('S34: sees through an address of this host that is written with %s', (_, url) => {
    expect(outbound.check(url)).toContain('leads to a private address');
  });

  it.each([
    ['a user name', 'http://example.com@127.0.0.1/', 'user name'],
    ['a password', 'http://a:b@example.com/', 'user name'],
    ['a file', 'file:///etc/passwd', 'https://'],
    ['gopher', 'gopher://127.0.0.1:6379/_FLUSHALL', 'https://'],
    ['data', 'data:text/plain,x', 'https://'],
    ['a script', 'javascript:alert(1)', 'https://'],
    ['no scheme', '//example.com/', 'not a URL'],
    ['nothing', '', 'not a URL'],
    ['no host', 'http://', 'not a URL'],
    ['a zone', 'http://[fe80::1%25eth0]/', 'not a URL'],
  ])('refuses a URL with %s', (_, url, text) => {
    expect(outbound.check(url)).toContain(text);
  });

  it.each([
    ['an address', ['10.1.2.3'], 'http://10.1.2.3/', 'http://10.1.2.4/'],
    ['a CIDR', ['10.1.2.0/24'], 'http://10.1.2.255/', 'http://10.1.3.0/'],
    ['an IPv6 address', ['fd00::5'], 'http://[fd00::5]/', 'http://[fd00::6]/'],
    ['an IPv6 CIDR', ['fd00:1::/32'], 'http://[fd00:1:ffff::]/', 'http://[fd00:2::]/'],
    ['a host name', ['localhost'], 'http://LOCALHOST./', 'http://127.0.0.1/'],
    ['loopback', ['127.0.0.1'], 'http://127.0.0.1:9/', 'http://127.0.0.2:9/'],
    ['all of IPv6', ['::/0'], 'http://[::1]/', 'http://127.0.0.1/'],
    ['a name, which opens no other name', ['hooks.localhost'], 'http://hooks.localhost/', 'http://x.hooks.localhost/'],
  ])('EGRESS_ALLOW opens %s and nothing beside it', (_, allow, open, closed) => {
    expect(createOutbound(allow).check(open)).toBeUndefined();
    expect(createOutbound(allow).check(closed)).toContain('EGRESS_ALLOW');
  });

  it('takes what is no address for refused', () => {
    for (const address of ['', 'localhost', '1.2.3', '1.2.3.4.5', '999.1.1.1', 'undefined'])
      expect(createAddressRules([]).allows(address, 'example.com')).toBe(false);
  });
});
