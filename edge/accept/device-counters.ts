/** Counters of the device port. */
import type { Counter } from 'prom-client';
import type { Metrics } from '../../common/process/metrics.js';

export class DeviceCounters {
  readonly staleRoutes: Counter;
  readonly rejected: Counter<'code'>;
  readonly redirected: Counter;
  readonly overLimit: Counter;

  constructor(metrics: Metrics) {
    this.staleRoutes = metrics.counter(
      'longline_edge_front_stale_routes_total',
      'Devices sent here by a front proxy with a stale assignment, which are told to retry',
    );
    this.rejected = metrics.counter(
      'longline_edge_requests_rejected_total',
      'Rejected requests on the device port, by error code',
      ['code'],
    );
    this.redirected = metrics.counter(
      'longline_edge_redirects_total',
      'Devices redirected to the owner of their shard',
    );
    this.overLimit = metrics.counter(
      'longline_edge_connections_over_limit_total',
      'Connections closed unread because too many were open',
    );
  }
}
