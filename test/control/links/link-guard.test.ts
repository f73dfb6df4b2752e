import type { PeerCertificate } from 'node:tls';
import { Metadata } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import { Metrics } from '../../../common/process/metrics.js';
import { LinkGuard } from '../../../control/links/link-guard.js';

const OLD = 'old-link-token-0123456789';
const NEW = 'new-link-token-0123456789';

function callWith(token?: string, CN?: string) {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  const certificate = { subject: { CN } } as PeerCertificate;
  const emitted: unknown[] = [];
  return {
    metadata,
    emitted,
    getAuthContext: () => (CN === undefined ? {} : { sslPeerCertificate: certificate }),
    emit: (_: 'error', error: unknown) => emitted.push(error) > 0,
  };
}

function guardOf(tokens: readonly string[], certificates: readonly string[] = []): LinkGuard {
  return new LinkGuard({ tokens, certificates }, new Metrics());
}

const rejected = expect.objectContaining({ code: 'UNAUTHENTICATED' });

test('where nothing is set, everybody may link', () => {
  expect(guardOf([]).reject(callWith())).toBeUndefined();
});

test('any of the tokens is good, and nothing else', () => {
  const guard = guardOf([NEW, OLD]);
  expect(guard.reject(callWith(OLD))).toBeUndefined();
  expect(guard.reject(callWith(NEW))).toBeUndefined();
  for (const token of [undefined, '', 'x', `${NEW}x`, NEW.toUpperCase()]) {
    expect(guard.reject(callWith(token))).toEqual(rejected);
  }
  // A certificate names nobody where no names are set.
  expect(guard.reject(callWith(undefined, 'edge'))).toEqual(rejected);
});

test('a certificate with one of the names is good without a token', () => {
  const guard = guardOf([], ['edge', 'router']);
  expect(guard.reject(callWith(undefined, 'edge'))).toBeUndefined();
  expect(guard.reject(callWith(undefined, 'shop'))).toEqual(rejected);
  expect(guard.reject(callWith(NEW))).toEqual(rejected);
});

test('whoever is rejected is told so and does not reach the service', () => {
  const served: unknown[] = [];
  const guarded = guardOf([NEW]).guard((call: ReturnType<typeof callWith>) => served.push(call));
  const stranger = callWith();
  guarded(stranger);
  expect(served).toEqual([]);
  expect(stranger.emitted).toEqual([
    expect.objectContaining({ details: expect.stringContaining('UNAUTHENTICATED') }),
  ]);
  guarded(callWith(NEW));
  expect(served).toHaveLength(1);
});
