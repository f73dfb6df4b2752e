import type { PeerCertificate } from 'node:tls';
import { expect, test } from '@jest/globals';
import {
  type ClusterIdentity,
  linkMetadata,
  PREFIX_METADATA,
} from '../../../common/process/grpc-link.js';
import { Metrics } from '../../../common/process/metrics.js';
import { LinkGuard } from '../../../control/links/link-guard.js';

const OLD = 'old-link-token-0123456789';
const CLUSTER: ClusterIdentity = { redisPrefix: 'prod', clusterName: 'production' };
const NEW = 'new-link-token-0123456789';

function callWith(token?: string, CN?: string, cluster = CLUSTER) {
  const metadata = linkMetadata(token, cluster);
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
  return new LinkGuard({ tokens, certificates }, CLUSTER, new Metrics());
}

const rejected = expect.objectContaining({ code: 'UNAUTHENTICATED' });

test('accepts every link while neither tokens nor certificates are configured', () => {
  expect(guardOf([]).reject(callWith())).toBeUndefined();
});

test('accepts any of the tokens, and nothing else', () => {
  const guard = guardOf([NEW, OLD]);
  expect(guard.reject(callWith(OLD))).toBeUndefined();
  expect(guard.reject(callWith(NEW))).toBeUndefined();
  for (const token of [undefined, '', 'x', `${NEW}x`, NEW.toUpperCase()]) {
    expect(guard.reject(callWith(token))).toEqual(rejected);
  }
  // Certificates do not authenticate while no names are configured.
  expect(guard.reject(callWith(undefined, 'edge'))).toEqual(rejected);
});

test('accepts a certificate with one of the names, without a token', () => {
  const guard = guardOf([], ['edge', 'router']);
  expect(guard.reject(callWith(undefined, 'edge'))).toBeUndefined();
  expect(guard.reject(callWith(undefined, 'shop'))).toEqual(rejected);
  expect(guard.reject(callWith(NEW))).toEqual(rejected);
});

test('answers a rejected call with UNAUTHENTICATED and does not pass it to the service', () => {
  const served: unknown[] = [];
  const guarded = guardOf([NEW]).guard((call: ReturnType<typeof callWith>) => served.push(call));
  const unauthenticated = callWith();
  guarded(unauthenticated);
  expect(served).toEqual([]);
  expect(unauthenticated.emitted).toEqual([
    expect.objectContaining({ details: expect.stringContaining('UNAUTHENTICATED') }),
  ]);
  guarded(callWith(NEW));
  expect(served).toHaveLength(1);
});

test('rejects the link of a process of another cluster, and says how it differs', () => {
  const guard = guardOf([]);
  const answerTo = (redisPrefix: string, clusterName?: string) => {
    const call = callWith(undefined, undefined, { redisPrefix, clusterName });
    const served: unknown[] = [];
    guard.guard((one: ReturnType<typeof callWith>) => served.push(one))(call);
    return served.length === 1 ? 'served' : JSON.stringify(call.emitted);
  };
  expect(answerTo('prod', 'production')).toBe('served');
  // A process that got no name yet.
  expect(answerTo('prod')).toBe('served');
  expect(answerTo('', 'production')).toMatch(/SETTINGS_MISMATCH.*LONGLINE_REDIS_PREFIX/);
  expect(answerTo('prod', 'staging')).toMatch(/LONGLINE_CLUSTER_NAME.*staging.*production/);
  // A process of an earlier version has no prefix.
  const earlier = callWith();
  earlier.metadata.remove(PREFIX_METADATA);
  expect(guard.reject(earlier)).toMatchObject({ code: 'SETTINGS_MISMATCH' });
  const unprefixed = { redisPrefix: '', clusterName: 'production' };
  const peers = { tokens: [], certificates: [] };
  expect(new LinkGuard(peers, unprefixed, new Metrics()).reject(earlier)).toBeUndefined();
});
