import { expect, test } from '@jest/globals';
import { parseEndpoint } from '../../../common/net/ip-address.js';
import { frontTlv, sentUnderOf } from '../../../common/wire/front-tlv.js';
import {
  type ProxyHeader,
  proxyHeader,
  readProxyHeader,
} from '../../../common/wire/proxy-protocol.js';

const endpoint = parseEndpoint('192.0.2.1:1')!;

function readWith(extras: [number, Buffer][]): ProxyHeader {
  return readProxyHeader(proxyHeader(endpoint, endpoint, extras), () => true) as ProxyHeader;
}

test('a front says under which assignment it sends a device', () => {
  const position = { incarnation: 2, epoch: 17 };
  const [type, value] = frontTlv(position);
  expect(value.toString()).toBe('longline 2-17');
  expect(sentUnderOf(readWith([[type, value]]))).toEqual(position);
});

test.each([
  ['nothing', []],
  ['another type', [[0xe0, Buffer.from('longline 2-17')]]],
  ['another name', [[0xe5, Buffer.from('2-17')]]],
  ['no position', [[0xe5, Buffer.from('longline x')]]],
] as [string, [number, Buffer][]][])('%s is of no front', (_, extras) => {
  expect(sentUnderOf(readWith(extras))).toBeUndefined();
});
