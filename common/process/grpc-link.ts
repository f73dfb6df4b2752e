/**
 * A link: one long-lived gRPC stream to control, opened again for ever. Where there are several
 * controls, one leads and the others end the stream at once: after each end the next one is tried.
 * Backoff with jitter between rounds; one log line per outage and one per recovery, not one per try.
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
 * A peer that is gone without a word is noticed within about ten seconds. Retries are ours, not the
 * library's: it would buffer what a long-lived stream has sent. A name that several controls share, as
 * in Kubernetes, is a list of controls, too: each stream is opened at the next one.
 */
export const LINK_OPTIONS: ChannelOptions = {
  'grpc.keepalive_time_ms': 5_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.enable_retries': 0,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  'grpc.dns_min_time_between_resolutions_ms': 5_000,
};

/** What a link shows of itself when it opens a stream. */
export function linkMetadata(token: string | undefined): Metadata {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  return metadata;
}

/** A control that has not taken the stream by then is stalled, and another one may lead. */
const ACCEPT_MS = 5_000;

export class GrpcLink<
  Service extends Client,
  Response,
  Stream extends ClientReadableStream<Response>,
> {
  #stream: Stream | undefined;
  #isUp = false;
  #tries = 0;
  #next = 0;
  #retry: NodeJS.Timeout | undefined;

  /**
   * @param clients one for each control
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

  /** True from when the other side has accepted the stream until it ends. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** The stream while there is one; it may not have reached the other side yet. */
  get stream(): Stream | undefined {
    return this.#stream;
  }

  close(): void {
    clearTimeout(this.#retry);
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
    for (const client of this.clients) client.close();
  }

  #connect(): void {
    const stream = this.open(this.clients[this.#next]!);
    this.#next = (this.#next + 1) % this.clients.length;
    this.#stream = stream;
    const giveUp = setTimeout(() => stream.cancel(), ACCEPT_MS);
    stream.on('metadata', () => {
      clearTimeout(giveUp);
      this.log.info({ link: this.name }, 'link is up');
      this.#isUp = true;
      this.#tries = 0;
    });
    stream.on('data', this.onMessage);
    // Every end of a stream, clean ones included, has exactly one status.
    stream.on('error', () => {});
    stream.on('status', (end) => {
      clearTimeout(giveUp);
      if (this.#stream === stream) this.#onEnd(end.code, end.details);
    });
  }

  #onEnd(code: status, details: string): void {
    const wasUp = this.#isUp;
    this.#isUp = false;
    this.#stream = undefined;
    this.#tries++;
    if (wasUp || this.#tries === 1) {
      this.log.warn({ link: this.name, code: status[code], details }, 'link is down, trying again');
    }
    const rounds = Math.ceil(this.#tries / this.clients.length);
    this.#retry = setTimeout(() => this.#connect(), backoffMs(rounds));
  }
}
