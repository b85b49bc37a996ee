import { describe, expect, it } from 'vitest';
import { createClientAddresses, networkOf, plainAddress } from '../../src/api/client-address.ts';

describe('the address of a client', () => {
  const behind = createClientAddresses(['10.0.0.0/8', '2001:db8:1::/48', '192.0.2.7']);

  it.each([
    ['nobody is believed', [], '198.51.100.1', '1.1.1.1', '198.51.100.1'],
    ['the peer is a stranger', ['10.0.0.0/8'], '198.51.100.1', '1.1.1.1', '198.51.100.1'],
    ['the proxy says nothing', ['10.0.0.0/8'], '10.0.0.1', undefined, '10.0.0.1'],
    ['the proxy says nothing that is an address', ['10.0.0.0/8'], '10.0.0.1', 'unknown', '10.0.0.1'],
    ['there is one proxy', ['10.0.0.0/8'], '10.0.0.1', '1.1.1.1', '1.1.1.1'],
    ['the client lies about itself', ['10.0.0.0/8'], '10.0.0.1', '9.9.9.9, 1.1.1.1', '1.1.1.1'],
    ['the client claims to be a proxy', ['10.0.0.0/8'], '10.0.0.1', '9.9.9.9, 10.0.0.5, 1.1.1.1', '1.1.1.1'],
    ['there are two proxies', ['10.0.0.0/8', '192.0.2.7'], '10.0.0.1', '9.9.9.9,1.1.1.1,192.0.2.7', '1.1.1.1'],
    ['all are proxies', ['10.0.0.0/8'], '10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3'],
    ['a word stands before a proxy', ['10.0.0.0/8'], '10.0.0.1', '1.1.1.1, x, 10.0.0.2', '10.0.0.2'],
    ['there is no socket', ['10.0.0.0/8'], undefined, '1.1.1.1', undefined],
  ])('S19: where %s', (_, proxies, peer, forwardedFor, client) => {
    expect(createClientAddresses(proxies)(peer, forwardedFor)).toBe(client);
  });

  it('S19: is the same in every spelling of the addresses', () => {
    expect(behind('::ffff:10.0.0.1', '::ffff:1.1.1.1')).toBe('1.1.1.1');
    expect(behind('::ffff:a00:1', '"[2001:DB8:2::0:1]:4711"')).toBe('2001:db8:2::1');
    expect(behind('2001:db8:1:0:0:0:0:9', ' 1.1.1.1:80 ,2001:db8:1::2')).toBe('1.1.1.1');
    expect(behind('192.0.2.7', '1.1.1.1')).toBe('1.1.1.1');
    expect(behind('192.0.2.8', '1.1.1.1')).toBe('192.0.2.8');
  });

  it.each<[string, string | undefined]>([
    ['1.2.3.4', '1.2.3.4'],
    ['1.2.3.4:8080', '1.2.3.4'],
    ['::ffff:1.2.3.4', '1.2.3.4'],
    ['[::ffff:102:304]:1', '1.2.3.4'],
    ['2001:DB8:0:0:1::5', '2001:db8::1:0:0:5'],
    ['fe80::1%eth0', 'fe80::1'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ...[
      '',
      'x',
      '1.2.3',
      '1.2.3.4.5',
      '0x7f.1',
      '127.1',
      '1.2.3.256',
      '1.2.3.4:x',
      '::1::',
      'g::1',
      '1.2.3.4\n'.repeat(9),
    ].map((text) => [text, undefined] as [string, undefined]),
  ])('%j is read as %s', (text, address) => {
    expect(plainAddress(text)).toBe(address);
  });

  it('S47: is found in no time, whatever was sent', () => {
    const started = performance.now();
    for (const part of ['1', ':', '1.', '1:', ',', '[', '::', 'ffff:', ' ', '10.0.0.1,'])
      behind('10.0.0.1', part.repeat(Math.ceil(16_000 / part.length)));
    expect(performance.now() - started).toBeLessThan(500);
  });

  it.each([
    ['1.2.3.4', '1.2.3.4'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:db8::1:0:0:5', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['1::', '1:0:0:0::/64'],
  ])('S19: %s is one of the network %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});
