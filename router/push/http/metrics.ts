/** Metrics of the Push API over HTTP. */
import type { Counter, Histogram } from 'prom-client';
import type { CloseReason } from '../../../common/http/http1/server.js';
import type { ErrorCode } from '../../../common/process/errors.js';
import type { Metrics } from '../../../common/process/metrics.js';

/** Route of a request whose path has none, or that could not be read. */
export const NO_ROUTE = 'none';

export class PushHttpMetrics {
  readonly #requests: Counter<'route' | 'code'>;
  readonly #seconds: Histogram;
  readonly #closed: Counter<'reason'>;
  #inProgress = 0;

  constructor(metrics: Metrics, connections: () => number) {
    metrics.gauge(
      'longline_router_push_http_connections',
      'Open HTTP connections of backends',
      connections,
    );
    metrics.gauge(
      'longline_router_push_http_in_progress',
      'HTTP requests and streams of backends in progress',
      () => this.#inProgress,
    );
    this.#requests = metrics.counter(
      'longline_router_push_http_requests_total',
      'HTTP requests and streams of backends that have ended, by route and error code; OK: none, CANCELLED: the caller disconnected',
      ['route', 'code'],
    );
    this.#seconds = metrics.histogram(
      'longline_router_push_http_seconds',
      'Seconds from the head of an HTTP request of a backend to its response, without streams',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    );
    this.#closed = metrics.counter(
      'longline_router_push_http_connections_closed_total',
      'HTTP connections of backends that the router closed, by reason: full (too many), handshake (TLS failed), idle (no request in time), request (not complete in time) or unread (a response was not read in time)',
      ['reason'],
    );
  }

  onBegin(): void {
    this.#inProgress++;
  }

  onEnd(route: string, code: ErrorCode | 'OK' | 'CANCELLED'): void {
    this.#inProgress--;
    this.#requests.inc({ route, code });
  }

  observe(seconds: number): void {
    this.#seconds.observe(seconds);
  }

  onUnreadable(code: ErrorCode): void {
    this.#requests.inc({ route: NO_ROUTE, code });
  }

  onClosed(reason: CloseReason): void {
    this.#closed.inc({ reason });
  }
}
