/** Section numbers are those of proxy-protocol.txt of HAProxy 3.0. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { endpointText, parseEndpoint } from '../../../common/net/ip-address.js';
import {
  type ProxyHeader,
  proxyHeader,
  readProxyHeader,
} from '../../../common/wire/proxy-protocol.js';
import { hex } from '../../support/devices/mqtt-bytes.js';

const SIGNATURE = '0d0a0d0a 000d0a51 5549540a';
const isTrusted = () => true;

function read(bytes: Buffer) {
  return readProxyHeader(bytes, isTrusted);
}

/** Expects each prefix of the header to be incomplete; reads the header with bytes after it. */
function readWhole(header: Buffer): ProxyHeader {
  for (let length = 0; length < header.length; length++) {
    expect(read(header.subarray(0, length))).toBe('more');
  }
  const result = read(Buffer.concat([header, Buffer.from('GET / HTTP/1.1')]));
  expect(result).toMatchObject({ byteLength: header.length });
  return result as ProxyHeader;
}

function sourceOf(header: Buffer): string | undefined {
  const { source } = readWhole(header);
  return source && endpointText(source);
}

function codeOf(bytes: Buffer): unknown {
  const result = read(bytes);
  return typeof result === 'object' && 'code' in result ? result.code : result;
}

describe('version 1 (§2.1)', () => {
  test.each([
    ['PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n', '192.168.0.1:56324'],
    ['PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n', '255.255.255.255:65535'],
    ['PROXY TCP6 2001:db8::7 2001:db8::1 0 443\r\n', '[2001:db8::7]:0'],
    [
      'PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n'.replaceAll(
        'f...f',
        'ffff:ffff:ffff:ffff:ffff:ffff',
      ),
      '[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535',
    ],
    ['PROXY UNKNOWN\r\n', undefined],
    ['PROXY UNKNOWN ff:: what ever 65535 65535\r\n', undefined],
  ])('reads the source of %j: %s', (line, source) => {
    expect(sourceOf(Buffer.from(line))).toBe(source);
  });

  test.each([
    'PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n',
    'PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n',
    'PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n',
    'PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n',
    'PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n',
    'PROXY TCP6 2001:db8::1 192.0.2.2 1 2\r\n',
    'PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n',
    'PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n',
    'PROXY UNKNOWNX\r\n',
    'PROXY UNKNOWN \n\r\n',
    'PROXY \r\n',
    `PROXY UNKNOWN ${'x'.repeat(92)}\r\n`,
  ])('rejects %j', (line) => {
    expect(codeOf(Buffer.from(line))).toBe('PROXY_MALFORMED');
  });

  test('accepts a line of 107 bytes, and does not wait for a longer one', () => {
    const longest = Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`);
    expect(longest).toHaveLength(107);
    expect(sourceOf(longest)).toBeUndefined();
    expect(codeOf(Buffer.from(`PROXY UNKNOWN ${'x'.repeat(93)}`))).toBe('PROXY_MALFORMED');
  });
});

describe('version 2 (§2.2)', () => {
  test.each([
    ['IPv4', '21 11 000c c0000201 c6336402 1f90 01bb', '192.0.2.1:8080'],
    [
      'IPv6',
      '21 21 0024 20010db8000000000000000000000001 20010db8000000000000000000000002 ffff 01bb',
      '[2001:db8::1]:65535',
    ],
    ['UNSPEC', '21 00 0000', undefined],
    ['UNSPEC with TLVs', '21 00 0004 030001ff', undefined],
    ['a Unix socket', `21 31 00d8 ${'00'.repeat(216)}`, undefined],
    ['LOCAL', '20 00 0000', undefined],
    [
      'LOCAL with addresses, which are ignored',
      '20 11 000c c0000201 c6336402 1f90 01bb',
      undefined,
    ],
    ['LOCAL with an unknown family', '20 ff 0003 010203', undefined],
    ['a TLV', '21 11 0010 c0000201 c6336402 1f90 01bb e1 0001 2a', '192.0.2.1:8080'],
  ])('reads %s', (_name, rest, source) => {
    expect(sourceOf(hex(SIGNATURE + rest))).toBe(source);
  });

  test.each([
    ['version 1 in the signature of 2', '11 11 000c c0000201 c6336402 1f90 01bb'],
    ['version 3', '31 11 000c c0000201 c6336402 1f90 01bb'],
    ['an unknown command', '22 11 000c c0000201 c6336402 1f90 01bb'],
    ['UDP', '21 12 000c c0000201 c6336402 1f90 01bb'],
    ['an unknown family', '21 41 000c c0000201 c6336402 1f90 01bb'],
    ['truncated addresses', '21 11 000b c0000201 c6336402 1f90 01'],
    ['a TLV without a length', '21 11 000e c0000201 c6336402 1f90 01bb e1 00'],
    ['a TLV over the end', '21 11 0010 c0000201 c6336402 1f90 01bb e1 0002 2a'],
    ['an announced length of 2,049 bytes', '21 11 0801'],
  ])('rejects %s', (_name, rest) => {
    expect(codeOf(hex(SIGNATURE + rest))).toBe('PROXY_MALFORMED');
  });

  test('accepts 2,048 bytes of addresses and TLVs', () => {
    const tlv = Buffer.alloc(2_048 - 12 - 3);
    const endpoint = parseEndpoint('192.0.2.1:1')!;
    const header = proxyHeader(endpoint, endpoint, [[4, tlv]]);
    expect(readWhole(header).tlvs.get(4)).toEqual(tlv);
  });

  test('writes the format of the specification', () => {
    const header = proxyHeader(
      parseEndpoint('192.0.2.1:8080')!,
      parseEndpoint('198.51.100.2:443')!,
      [[0xe5, Buffer.from('hi')]],
    );
    expect(header).toEqual(hex(`${SIGNATURE} 21 11 0011 c0000201 c6336402 1f90 01bb e5 0002 6869`));
  });

  test('reads random headers that it writes', () => {
    const endpoint = fc
      .tuple(fc.oneof(fc.ipV4(), fc.ipV6()), fc.integer({ min: 0, max: 65_535 }))
      .map(([address, port]) =>
        parseEndpoint(address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`),
      )
      .filter((each) => each !== undefined);
    const tlv = fc.tuple(
      fc.integer({ min: 0, max: 255 }),
      fc.uint8Array({ maxLength: 50 }).map((array) => Buffer.from(array)),
    );
    fc.assert(
      fc.property(endpoint, endpoint, fc.array(tlv, { maxLength: 5 }), (from, to, tlvs) => {
        const result = readWhole(proxyHeader(from, to, tlvs));
        expect(result.source).toEqual(from);
        expect(result.tlvs).toEqual(new Map(tlvs));
      }),
    );
  });
});

describe('a connection without a header', () => {
  test.each([
    'GET /connect HTTP/1.1\r\n',
    'PUT',
    'PO',
    'PROXX',
    '\r\nGET',
    '\r\n\r\nG',
    '\x10\x0c',
  ])('%j has no header', (text) => expect(read(Buffer.from(text, 'latin1'))).toBe('none'));

  test.each(['', 'P', 'PROXY', '\r', '\r\n', '\r\n\r\n\0\r\nQUIT'])(
    '%j may still be a header',
    (text) => expect(read(Buffer.from(text, 'latin1'))).toBe('more'),
  );
});

test('rejects an untrusted header early, and checks trust only for headers', () => {
  const isUntrusted = () => false;
  expect(readProxyHeader(Buffer.from('PROXY '), isUntrusted)).toMatchObject({
    code: 'PROXY_NOT_ALLOWED',
  });
  expect(readProxyHeader(hex(SIGNATURE), isUntrusted)).toMatchObject({ code: 'PROXY_NOT_ALLOWED' });
  const never = () => {
    throw new Error('called');
  };
  expect(readProxyHeader(Buffer.from('GET /'), never)).toBe('none');
  expect(readProxyHeader(Buffer.from('PROXY'), never)).toBe('more');
});
