/**
 * Authentication of the links of edges and routers: by the cluster's link token, or by a client
 * certificate with one of the configured names.
 */
import type { ServerUnaryCall, ServiceError } from '@grpc/grpc-js';
import type { Counter } from 'prom-client';
import { certificateNames } from '../../common/auth/certificate-names.js';
import type { LinkPeers } from '../../common/auth/peer-settings.js';
import { bearerOf, findToken, hashToken } from '../../common/auth/tokens.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { authorizationOf, toServiceError } from '../../common/process/grpc/calls.js';
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
    metrics: Metrics,
  ) {
    this.#tokens = peers.tokens.map((token) => ({ sha256: hashToken(token) }));
    this.#rejected = metrics.counter(
      'longline_control_links_rejected_total',
      'Links of edges and routers rejected for missing or invalid credentials',
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

  /** Undefined: the call is authenticated, or neither tokens nor certificates are configured. */
  reject(call: LinkCall): Rejection | undefined {
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
}
