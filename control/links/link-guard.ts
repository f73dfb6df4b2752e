/**
 * Admission of the links of edges and routers. They authenticate by the cluster's link token, or by
 * a client certificate with one of the configured names. A process of another cluster is rejected:
 * it would read and write under other names in Redis, and its pushes would reach no device.
 */
import type { handleUnaryCall, ServerUnaryCall, ServiceError } from '@grpc/grpc-js';
import type { Counter } from 'prom-client';
import { certificateNames } from '../../common/auth/certificates.js';
import type { LinkPeers } from '../../common/auth/peer-settings.js';
import { bearerOf, findToken, hashToken } from '../../common/auth/tokens.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { authorizationOf, toServiceError } from '../../common/process/grpc/calls.js';
import {
  type ClusterIdentity,
  NAME_METADATA,
  PREFIX_METADATA,
} from '../../common/process/grpc-link.js';
import type { Metrics } from '../../common/process/metrics.js';

/** Common part of all kinds of gRPC calls. */
interface LinkCall extends Pick<ServerUnaryCall<unknown, unknown>, 'metadata' | 'getAuthContext'> {
  emit(event: 'error', error: Partial<ServiceError>): boolean;
}

export class LinkGuard {
  readonly #tokens: readonly { readonly sha256: Buffer }[];
  readonly #rejected: Counter;

  constructor(
    readonly peers: LinkPeers,
    readonly cluster: ClusterIdentity,
    metrics: Metrics,
  ) {
    this.#tokens = peers.tokens.map((token) => ({ sha256: hashToken(token) }));
    this.#rejected = metrics.counter(
      'longline_control_links_rejected_total',
      'Links of edges and routers rejected for their credentials or for another cluster',
    );
  }

  /** Wraps a handler so that it receives only authenticated calls. */
  guard<Call extends LinkCall>(handle: (call: Call) => void): (call: Call) => void {
    return (call) => {
      const rejected = this.reject(call);
      if (rejected === undefined) return handle(call);
      this.#rejected.inc();
      call.emit('error', toServiceError(rejected));
    };
  }

  /** The same for a handler that answers through a callback. */
  guardUnary<Request, Response>(
    handle: handleUnaryCall<Request, Response>,
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      const rejected = this.reject(call);
      if (rejected === undefined) return handle(call, callback);
      this.#rejected.inc();
      callback(toServiceError(rejected));
    };
  }

  /** Undefined: the call is accepted. */
  reject(call: Pick<LinkCall, 'metadata' | 'getAuthContext'>): Rejection | undefined {
    return this.#rejectCredentials(call) ?? this.#rejectCluster(call);
  }

  /** Undefined: the call is authenticated, or neither tokens nor certificates are configured. */
  #rejectCredentials(call: Pick<LinkCall, 'metadata' | 'getAuthContext'>): Rejection | undefined {
    const { certificates } = this.peers;
    if (this.#tokens.length === 0 && certificates.length === 0) return undefined;
    const names = certificateNames(call.getAuthContext().sslPeerCertificate);
    if (names.some((name) => certificates.includes(name))) return undefined;
    const token = bearerOf(authorizationOf(call.metadata));
    if (token !== undefined && findToken(this.#tokens, token) !== undefined) return undefined;
    return rejection(
      'UNAUTHENTICATED',
      'links need a valid link token or client certificate of this cluster',
    );
  }

  /** Processes of versions before 0.2.0 say nothing about their cluster, and have no prefix. */
  #rejectCluster({ metadata }: Pick<LinkCall, 'metadata'>): Rejection | undefined {
    const { redisPrefix, clusterName } = this.cluster;
    const compared = [
      ['LONGLINE_REDIS_PREFIX', redisPrefix, metadata.get(PREFIX_METADATA)[0] ?? ''],
      ['LONGLINE_CLUSTER_NAME', clusterName, metadata.get(NAME_METADATA)[0]],
    ] as const;
    for (const [setting, own, theirs] of compared) {
      if (own === undefined || theirs === undefined || own === String(theirs)) continue;
      return rejection(
        'SETTINGS_MISMATCH',
        `${setting} is "${theirs}", and control has "${own}": set both to the same, or the ` +
          'address of control to that of the own cluster',
      );
    }
    return undefined;
  }
}
