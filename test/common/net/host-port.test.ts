import { expect, test } from '@jest/globals';
import {
  canonicalOriginUrl,
  hostPortOf,
  hostPortProblem,
  hostProblem,
  joinHostPort,
  originUrlProblem,
  parseHostPort,
} from '../../../common/net/host-port.js';

test.each([
  ['edge-1.example:7000', 'edge-1.example', 7000],
  ['edge_1:7000', 'edge_1', 7000],
  ['192.0.2.1:1', '192.0.2.1', 1],
  ['[2001:db8::1]:65535', '2001:db8::1', 65_535],
])('parses and joins %s', (text, host, port) => {
  expect(hostPortProblem(text)).toBeUndefined();
  expect(parseHostPort(text)).toEqual({ host, port });
  expect(joinHostPort(host, port)).toBe(text);
});

test('parses an IPv4 address in brackets', () => {
  expect(parseHostPort('[192.0.2.1]:7000')).toEqual({ host: '192.0.2.1', port: 7000 });
});

test.each([
  ['', 'no valid host'],
  ['edge', 'no port'],
  ['edge:', 'no valid host'],
  [':7000', 'no valid host'],
  ['edge:0', 'port 0'],
  ['edge:65536', 'port 65536'],
  ['edge:1:2', 'no valid host'],
  ['http://edge:1', 'is a URL'],
  ['a b:1', 'no valid host'],
  ['a/b:1', 'no valid host'],
  ['1.2.3:1', 'no valid host'],
  ['256.0.0.1:1', 'no valid host'],
  ['-edge:1', 'no valid host'],
  ['2001:db8::1', 'IPv6 address without brackets'],
  ['::1:7101', 'IPv6 address without brackets'],
  ['2001:db8:0:0:0:0:0:1:7101', 'IPv6 address without brackets'],
  ['::1:7101:', 'no valid host'],
  ['[::', 'no valid host'],
  ['[::1', 'no valid host'],
  ['[::1]', 'no port'],
  ['[::1]:', 'no valid host'],
  ['[::g]:1', 'no valid host'],
  ['[edge]:1', 'no valid host'],
  ['[fe80::1%eth0]:7101', 'has a zone'],
  ['fe80::1%25eth0', 'has a zone'],
])('says what is wrong with %j', (text, problem) => {
  expect(hostPortProblem(text)).toContain(problem);
  expect(hostPortProblem(text)).toContain('expected host:port');
  expect(parseHostPort(text)).toBeUndefined();
});

test.each(['::', '[::]', '::1', '[::1]', '0.0.0.0', '127.0.0.1', 'localhost', 'bücher.example'])(
  'listens on %s',
  (text) => expect(hostProblem(text)).toBeUndefined(),
);

test.each([
  ['[::', 'neither an address nor a host name'],
  ['::1:7101:', 'neither an address nor a host name'],
  ['*', 'neither an address nor a host name'],
  ['127.0.0.256', 'neither an address nor a host name'],
  ['127.0.0.1,::1', 'neither an address nor a host name'],
  ['http://localhost', 'neither an address nor a host name'],
  ['fe80::1%eth0', 'has a zone'],
  ['localhost:7101', 'has a port'],
  ['0.0.0.0:7101', 'has a port'],
  ['[::1]:7101', 'has a port'],
  [':::7101', 'has a port'],
])('does not listen on %s', (text, problem) => {
  expect(hostProblem(text)).toContain(problem);
  expect(hostProblem(text)).toContain('expected an address such as ::');
});

test.each([
  ['http://edge-1.example:7000', 'http://edge-1.example:7000'],
  ['https://edge-1.example', 'https://edge-1.example'],
  ['http://[2001:db8::1]:7000', 'http://[2001:db8::1]:7000'],
  ['https://[2001:db8::1]', 'https://[2001:db8::1]'],
  ['http://[192.0.2.1]:7000', 'http://192.0.2.1:7000'],
  ['http://[192.0.2.1]', 'http://192.0.2.1'],
])('advertises %s', (text, canonical) => {
  expect(originUrlProblem(text)).toBeUndefined();
  expect(canonicalOriginUrl(text)).toBe(canonical);
  expect(new URL(canonical).origin).toBe(canonical);
});

test.each([
  ['edge:7000', 'is no such URL'],
  ['ftp://edge:7000', 'is no such URL'],
  ['http://edge:7000/', 'is no such URL'],
  ['http://edge:7000/connect', 'is no such URL'],
  ['http://user@edge:7000', 'no valid host'],
  ['http://2001:db8::1:7000', 'IPv6 address without brackets'],
  ['http://::1', 'IPv6 address without brackets'],
  ['http://[::1', 'no valid host'],
  ['http://[fe80::1%eth0]:7000', 'has a zone'],
  ['http://edge:99999', 'port 99999'],
])('says what is wrong with the URL %s', (text, problem) => {
  expect(originUrlProblem(text)).toContain(problem);
});

test.each([
  ['http://edge-1.example:7000', 'edge-1.example', 7000],
  ['http://edge-1.example', 'edge-1.example', 80],
  ['https://edge-1.example', 'edge-1.example', 443],
  ['http://[2001:db8::1]:7000', '2001:db8::1', 7000],
])('%s has the host %s', (url, host, port) => {
  expect(hostPortOf(url)).toEqual({ host, port });
});
