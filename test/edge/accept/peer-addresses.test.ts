import { expect, test } from '@jest/globals';
import { parseEndpoint } from '../../../common/net/ip-address.js';
import { connectionOf } from '../../../common/transport/transport.js';
import { PeerAddresses } from '../../../edge/accept/peer-addresses.js';

const ALICE = connectionOf(3, 1);

function originsWith(remoteAddress: string | undefined): PeerAddresses {
  const origins = new PeerAddresses();
  origins.transport = { remoteAddress: () => remoteAddress };
  return origins;
}

test('is what the socket says without a header, and costs nothing', () => {
  const origins = originsWith('127.0.0.1:5');
  expect(origins.addressOf(ALICE)).toBe('127.0.0.1:5');
  expect(origins.isFronted(ALICE)).toBe(false);
  expect(origins.bytes).toBe(0);
});

test.each(['192.0.2.1:8080', '[2001:db8::1]:65535'])('is what a header says: %s', (text) => {
  const origins = originsWith('127.0.0.1:5');
  origins.set(ALICE, parseEndpoint(text), true);
  // Far beyond, so that the table grows.
  const last = connectionOf(100_000, 1);
  origins.set(last, parseEndpoint('192.0.2.9:9'), false);
  expect(origins.addressOf(ALICE)).toBe(text);
  expect(origins.isFronted(ALICE)).toBe(true);
  expect(origins.addressOf(last)).toBe('192.0.2.9:9');
  expect(origins.isFronted(last)).toBe(false);
});

test('is the socket again when a proxy does not say, or when the slot has another connection', () => {
  const origins = originsWith('127.0.0.1:5');
  origins.set(ALICE, undefined, true);
  expect(origins.addressOf(ALICE)).toBe('127.0.0.1:5');
  origins.set(ALICE, parseEndpoint('192.0.2.1:1'), true);
  origins.forget(ALICE);
  expect(origins.addressOf(ALICE)).toBe('127.0.0.1:5');
  expect(origins.isFronted(ALICE)).toBe(false);
});
