import { isIPv6 } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { endpointText, ipBytes, ipText, parseEndpoint } from '../../../common/net/ip-address.js';

describe('ipBytes', () => {
  test.each([
    ['192.0.2.1', '00000000000000000000ffffc0000201'],
    ['0.0.0.0', '00000000000000000000ffff00000000'],
    ['::', '00000000000000000000000000000000'],
    ['::1', '00000000000000000000000000000001'],
    ['2001:db8::1', '20010db8000000000000000000000001'],
    ['2001:DB8:1:2:3:4:5:6', '20010db8000100020003000400050006'],
    ['1::', '00010000000000000000000000000000'],
    ['64:ff9b::192.0.2.33', '0064ff9b0000000000000000c0000221'],
    ['::ffff:192.0.2.1', '00000000000000000000ffffc0000201'],
  ])('%s is %s', (text, hex) => {
    expect(ipBytes(text)?.toString('hex')).toBe(hex);
  });

  test.each(['', '1.2.3', '1.2.3.4.5', '01.2.3.4', '::1%eth0', 'g::', ':::', '1:2:3:4:5:6:7:8:9'])(
    'rejects %j',
    (text) => expect(ipBytes(text)).toBeUndefined(),
  );

  test('reads what ipText writes, and ipText writes mapped addresses as IPv4', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (array) => {
        const ip = Buffer.from(array);
        const text = ipText(ip);
        expect(isIPv6(text)).toBe(true);
        expect(ipBytes(text)).toEqual(ip);
      }),
    );
    expect(ipText(ipBytes('::ffff:198.51.100.7')!)).toBe('198.51.100.7');
  });
});

test('parseEndpoint reads what endpointText writes, and rejects other text', () => {
  for (const text of ['192.0.2.1:7000', '[2001:db8::1]:1', '127.0.0.1:65535']) {
    expect(endpointText(parseEndpoint(text)!)).toBe(text);
  }
  expect(endpointText(parseEndpoint('[::ffff:192.0.2.1]:80')!)).toBe('192.0.2.1:80');
  for (const text of ['', '192.0.2.1', '192.0.2.1:65536', '2001:db8::1:80', 'host:80', '[::1]']) {
    expect(parseEndpoint(text)).toBeUndefined();
  }
});
