import { expect, test } from '@jest/globals';
import { hostPortOf, parseHostPort } from '../../../common/net/host-port.js';

test.each([
  ['edge-1.example:7000', 'edge-1.example', 7000],
  ['192.0.2.1:1', '192.0.2.1', 1],
  ['[2001:db8::1]:65535', '2001:db8::1', 65_535],
])('parses %s', (text, host, port) => {
  expect(parseHostPort(text)).toEqual({ host, port });
});

test.each(['', 'edge', 'edge:', 'edge:0', 'edge:65536', 'http://edge:1', 'a b:1', '2001:db8::1:1'])(
  'rejects %j',
  (text) => expect(parseHostPort(text)).toBeUndefined(),
);

test.each([
  ['http://edge-1.example:7000', 'edge-1.example', 7000],
  ['http://edge-1.example', 'edge-1.example', 80],
  ['https://edge-1.example', 'edge-1.example', 443],
  ['http://[2001:db8::1]:7000', '2001:db8::1', 7000],
])('%s has the host %s', (url, host, port) => {
  expect(hostPortOf(url)).toEqual({ host, port });
});
