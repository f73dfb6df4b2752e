import { expect, test } from '@jest/globals';
import { parseEndpoint } from '../../../common/net/ip-address.js';
import { isNetwork, Networks } from '../../../common/net/networks.js';

function includes(networks: string[], endpoint: string): boolean {
  return new Networks(networks).includes(parseEndpoint(endpoint)!);
}

test.each([
  ['10.1.2.0/24', '10.1.2.255:1', '10.1.3.0:1'],
  ['192.0.2.7', '192.0.2.7:1', '192.0.2.8:1'],
  ['0.0.0.0/0', '203.0.113.9:1', '[2001:db8::1]:1'],
  ['2001:db8::/32', '[2001:db8:ffff::1]:1', '[2001:db9::1]:1'],
  ['::1', '[::1]:1', '127.0.0.1:1'],
  ['10.1.2.0/24', '[::ffff:10.1.2.3]:1', '[::ffff:10.1.3.3]:1'],
])('%s includes %s and not %s', (network, inside, outside) => {
  expect(includes([network], inside)).toBe(true);
  expect(includes([network], outside)).toBe(false);
  expect(includes(['198.51.100.0/24', network], inside)).toBe(true);
});

test('an empty list includes no address', () => {
  expect(includes([], '127.0.0.1:1')).toBe(false);
});

test('a network is an address with an optional prefix length of its family', () => {
  for (const text of ['10.0.0.0/8', '10.0.0.0/32', '::/0', '2001:db8::/128', '::1']) {
    expect(isNetwork(text)).toBe(true);
  }
  for (const text of ['', '10.0.0.0/33', '::/129', '10.0.0/8', '10.0.0.0/', 'all', '10.0.0.0/8 ']) {
    expect(isNetwork(text)).toBe(false);
  }
});
