/**
 * A link: one long-lived gRPC stream to control, opened again for ever. Backoff with jitter between
 * tries; one log line per outage and one per recovery, not one per try.
 */
import { type ChannelOptions, type ClientReadableStream, status } from '@grpc/grpc-js';
import { backoffMs } from './backoff.js';
import type { Logger } from './log.js';

/**
 * A peer that is gone without a word is noticed within about ten seconds. Retries are ours, not the
 * library's: it would buffer what a long-lived stream has sent.
 */
export const LINK_OPTIONS: ChannelOptions = {
  'grpc.keepalive_time_ms': 5_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.enable_retries': 0,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
};

export class GrpcLink<Response, Stream extends ClientReadableStream<Response>> {
  #stream: Stream | undefined;
  #isUp = false;
  #tries = 0;
  #retry: NodeJS.Timeout | undefined;

  constructor(
    readonly name: string,
    readonly open: () => Stream,
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
  }

  #connect(): void {
    const stream = this.open();
    this.#stream = stream;
    stream.on('metadata', () => {
      this.log.info({ link: this.name }, 'link is up');
      this.#isUp = true;
      this.#tries = 0;
    });
    stream.on('data', this.onMessage);
    // Every end of a stream, clean ones included, has exactly one status.
    stream.on('error', () => {});
    stream.on('status', (end) => {
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
    this.#retry = setTimeout(() => this.#connect(), backoffMs(this.#tries, Math.random()));
  }
}
