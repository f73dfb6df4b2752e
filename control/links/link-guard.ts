/**
 * Who may be an edge or a router of this cluster: whoever shows the cluster's token, or a certificate
 * with one of the names that edges and routers have.
 */
import type { ServerUnaryCall, ServiceError } from '@grpc/grpc-js';
import type { Counter } from 'prom-client';
import { certificateNames } from '../../common/auth/certificate-names.js';
import type { LinkPeers } from '../../common/auth/peer-settings.js';
import { bearerOf, findToken, hashToken } from '../../common/auth/tokens.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { authorizationOf, toServiceError } from '../../common/process/grpc-server.js';
import type { Metrics } from '../../common/process/metrics.js';

/** What all calls have. */
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
      'Links of edges and routers that showed no token and no certificate, or not a good one.',
    );
  }

  /** The same handler for whoever is let in. */
  guard<Call extends LinkCall>(handle: (call: Call) => void): (call: Call) => void {
    return (call) => {
      const rejected = this.reject(call);
      if (rejected === undefined) return handle(call);
      this.#rejected.inc();
      call.emit('error', toServiceError(rejected));
    };
  }

  reject(call: LinkCall): Rejection | undefined {
    const { certificates } = this.peers;
    if (this.#tokens.length === 0 && certificates.length === 0) return undefined;
    const names = certificateNames(call.getAuthContext().sslPeerCertificate);
    if (names.some((name) => certificates.includes(name))) return undefined;
    const shown = bearerOf(authorizationOf(call.metadata));
    if (shown !== undefined && findToken(this.#tokens, shown) !== undefined) return undefined;
    return rejection('UNAUTHENTICATED', 'this is no edge and no router of this cluster');
  }
}
