import { expect, test } from '@jest/globals';
import { parseEndpoint } from '../../../common/net/ip-address.js';
import { connectionOf } from '../../../common/transport/transport.js';
import { PeerAddresses } from '../../../edge/accept/peer-addresses.js';

const ALICE = connectionOf(3, 1);

const peersOver = (socketAddress: string) =>
  new PeerAddresses({ remoteAddress: () => socketAddress });

test('without a header, returns the address of the socket, and takes no memory', () => {
  const peers = peersOver('127.0.0.1:5');
  expect(peers.addressOf(ALICE)).toBe('127.0.0.1:5');
  expect(peers.isFronted(ALICE)).toBe(false);
  expect(peers.bytes).toBe(0);
});

test.each(['192.0.2.1:8080', '[2001:db8::1]:65535'])(
  'returns the address of a header: %s',
  (text) => {
    const peers = peersOver('127.0.0.1:5');
    peers.set(ALICE, parseEndpoint(text), true);
    // A slot far beyond the first, so that the arrays grow.
    const last = connectionOf(100_000, 1);
    peers.set(last, parseEndpoint('192.0.2.9:9'), false);
    expect(peers.addressOf(ALICE)).toBe(text);
    expect(peers.isFronted(ALICE)).toBe(true);
    expect(peers.addressOf(last)).toBe('192.0.2.9:9');
    expect(peers.isFronted(last)).toBe(false);
  },
);

test('returns the address of the socket for a header without address, and for a reused slot', () => {
  const peers = peersOver('127.0.0.1:5');
  peers.set(ALICE, undefined, true);
  expect(peers.addressOf(ALICE)).toBe('127.0.0.1:5');
  peers.set(ALICE, parseEndpoint('192.0.2.1:1'), true);
  peers.forget(ALICE);
  expect(peers.addressOf(ALICE)).toBe('127.0.0.1:5');
  expect(peers.isFronted(ALICE)).toBe(false);
});
