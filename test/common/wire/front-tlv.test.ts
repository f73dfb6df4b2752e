import { expect, test } from '@jest/globals';
import { parseEndpoint } from '../../../common/net/ip-address.js';
import { frontTlv, readFrontTlv } from '../../../common/wire/front-tlv.js';
import {
  type ProxyHeader,
  proxyHeader,
  readProxyHeader,
} from '../../../common/wire/proxy-protocol.js';

const endpoint = parseEndpoint('192.0.2.1:1')!;

function readWith(tlvs: [number, Buffer][]): ProxyHeader {
  return readProxyHeader(proxyHeader(endpoint, endpoint, tlvs), () => true) as ProxyHeader;
}

test('a front proxy sends the version of its assignment', () => {
  const position = { incarnation: 2, epoch: 17 };
  const [type, value] = frontTlv(position);
  expect(value.toString()).toBe('longline 2-17');
  expect(readFrontTlv(readWith([[type, value]]))).toEqual(position);
});

test.each([
  ['a header without TLVs', []],
  ['another type', [[0xe0, Buffer.from('longline 2-17')]]],
  ['another name', [[0xe5, Buffer.from('2-17')]]],
  ['no version', [[0xe5, Buffer.from('longline x')]]],
] as [string, [number, Buffer][]][])('%s is not from a front proxy', (_, tlvs) => {
  expect(readFrontTlv(readWith(tlvs))).toBeUndefined();
});
