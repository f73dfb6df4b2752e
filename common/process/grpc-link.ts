/**
 * A link: one long-lived gRPC stream to control, reopened whenever it ends. Of several controls
 * only the leader accepts the stream; the others end it at once, and the link tries the next one,
 * with backoff after each round. An outage and a recovery are logged once each, not each attempt.
 */
import {
  type ChannelOptions,
  type Client,
  type ClientReadableStream,
  Metadata,
  status,
} from '@grpc/grpc-js';
import { backoffMs } from './backoff.js';
import type { Logger } from './log.js';

/**
 * Connects to roles directly: a proxy that the environment names leads to the Internet, not to
 * them.
 */
export const DIRECT: ChannelOptions = { 'grpc.enable_http_proxy': 0 };

/**
 * Keepalive detects a dead peer within about ten seconds. Retries of the library are off, as it
 * would buffer everything that a long-lived stream has sent. A host name may resolve to several
 * controls, as in Kubernetes: round_robin opens each stream to the next one.
 */
export const LINK_OPTIONS: ChannelOptions = {
  ...DIRECT,
  'grpc.keepalive_time_ms': 5_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.enable_retries': 0,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  'grpc.dns_min_time_between_resolutions_ms': 5_000,
};

/** Tells the processes of one cluster from those of another. */
export interface ClusterIdentity {
  readonly redisPrefix: string;
  /** Undefined: the cluster has no name. */
  readonly clusterName: string | undefined;
}

/** Metadata of a link: the sender's cluster. */
export const PREFIX_METADATA = 'longline-redis-prefix';
export const NAME_METADATA = 'longline-cluster-name';

/** Metadata with which a link opens its stream. */
export function linkMetadata(token: string | undefined, cluster: ClusterIdentity): Metadata {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  metadata.set(PREFIX_METADATA, cluster.redisPrefix);
  if (cluster.clusterName !== undefined) metadata.set(NAME_METADATA, cluster.clusterName);
  return metadata;
}

/** A control that has not accepted the stream by then is stalled; the link tries the next one. */
const ACCEPT_TIMEOUT_MS = 5_000;

export class GrpcLink<
  Service extends Client,
  Response,
  Stream extends ClientReadableStream<Response>,
> {
  #stream: Stream | undefined;
  #isUp = false;
  /** Failed attempts since the link was last up. */
  #failures = 0;
  /** Index into `clients` of the next attempt. */
  #next = 0;
  #retryTimer: NodeJS.Timeout | undefined;

  /**
   * @param clients one per control
   * @param open opens the stream
   */
  constructor(
    readonly name: string,
    readonly clients: readonly Service[],
    readonly open: (client: Service) => Stream,
    readonly onMessage: (message: Response) => void,
    readonly log: Logger,
  ) {
    this.#connect();
  }

  /** True from when control accepts the stream until it ends. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** The current stream, which control may not have accepted yet; undefined between attempts. */
  get stream(): Stream | undefined {
    return this.#stream;
  }

  close(): void {
    clearTimeout(this.#retryTimer);
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
    for (const client of this.clients) client.close();
  }

  #connect(): void {
    const stream = this.open(this.clients[this.#next]!);
    this.#next = (this.#next + 1) % this.clients.length;
    this.#stream = stream;
    const acceptTimer = setTimeout(() => stream.cancel(), ACCEPT_TIMEOUT_MS);
    stream.on('metadata', () => {
      clearTimeout(acceptTimer);
      this.log.info({ link: this.name }, 'link is up');
      this.#isUp = true;
      this.#failures = 0;
    });
    stream.on('data', this.onMessage);
    // Every stream ends with exactly one status, also without an error.
    stream.on('error', () => {});
    stream.on('status', (end) => {
      clearTimeout(acceptTimer);
      if (this.#stream === stream) this.#onEnd(end.code, end.details);
    });
  }

  #onEnd(code: status, details: string): void {
    const wasUp = this.#isUp;
    this.#isUp = false;
    this.#stream = undefined;
    this.#failures++;
    if (wasUp || this.#failures === 1) {
      this.log.warn({ link: this.name, code: status[code], details }, 'link is down, retrying');
    }
    const rounds = Math.ceil(this.#failures / this.clients.length);
    this.#retryTimer = setTimeout(() => this.#connect(), backoffMs(rounds));
  }
}
