/**
 * The edge's session with control: statistics go up every two seconds; assignments and the pace of
 * goaways come down. No push depends on it.
 */
import type { ChannelCredentials, ClientDuplexStream, Metadata } from '@grpc/grpc-js';
import type { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { GrpcLink, LINK_OPTIONS } from '../../common/process/grpc-link.js';
import type { Logger } from '../../common/process/log.js';
import {
  type ClientScan,
  type ClientScanResult,
  EdgeSessionServiceClient,
  type Hello,
  type SessionRequest,
  type SessionResponse,
  type Stats,
  type Pace as WirePace,
} from '../../proto/gen/longline/v1/edge_session.js';

const STATS_INTERVAL_MS = 2_000;
/** Changes within this time share one report. */
const SOON_MS = 50;
/**
 * Minimum time between reports that changes cause. While shards move, something changes all the
 * time, and each report lists all shards: without a bound, edges would do little else.
 */
const BETWEEN_MS = 250;

/** Rates and deadlines that control has requested. */
export interface Pace {
  readonly goawaysPerSecond: number;
  /** Deadline of the drain, in ms of the monotonic clock. Undefined: none. */
  readonly drainUntilMs: number | undefined;
}

export interface ControlLinkOptions {
  /** `host:port` of each control. */
  readonly addresses: readonly string[];
  readonly credentials: ChannelCredentials;
  /** Sent with each session; carries the link token. */
  readonly metadata: Metadata;
  readonly feed: AssignmentFeed;
  /** Returns the current description of this edge. */
  readonly hello: () => Hello;
  /** Returns the current statistics of this edge. */
  readonly measure: () => Stats;
  readonly scanClients: (scan: ClientScan) => ClientScanResult;
  readonly log: Logger;
}

export class ControlLink {
  readonly #link: GrpcLink<
    EdgeSessionServiceClient,
    SessionResponse,
    ClientDuplexStream<SessionRequest, SessionResponse>
  >;
  readonly #interval: NodeJS.Timeout;
  #soon: NodeJS.Timeout | undefined;
  #reportedAtMs = Number.NEGATIVE_INFINITY;
  #pace: Pace = { goawaysPerSecond: 0, drainUntilMs: undefined };

  constructor(readonly options: ControlLinkOptions) {
    const { addresses, credentials, metadata, feed, hello, measure, log } = options;
    this.#link = new GrpcLink(
      'control',
      addresses.map((address) => new EdgeSessionServiceClient(address, credentials, LINK_OPTIONS)),
      (client) => {
        // The rate of the previous control may be too high by now; its deadline remains valid.
        this.#pace = { ...this.#pace, goawaysPerSecond: 0 };
        const stream = client.session(metadata);
        stream.write({ body: { $case: 'hello', value: hello() } });
        stream.write({ body: { $case: 'stats', value: measure() } });
        return stream;
      },
      (response) => {
        if (response.pace !== undefined) this.#pace = readPace(response.pace);
        if (response.clientScan !== undefined) {
          this.#send({
            $case: 'clientScanResult',
            value: options.scanClients(response.clientScan),
          });
        }
        if (response.assignment === undefined && response.delta === undefined) return;
        const { edgeId, shardCount } = hello();
        const needsWhole = feed.offerUpdate(response, shardCount, log);
        if (needsWhole) this.#send({ $case: 'resendAssignment', value: {} });
        // Reports the effects at once, not two seconds later. Of a thousand edges, few have a part.
        const isMoving = feed.current?.moves.some(({ from, to }) => [from, to].includes(edgeId));
        if (isMoving) this.reportSoon();
      },
      log,
    );
    this.#interval = setInterval(() => this.#report(), STATS_INTERVAL_MS);
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** The newest pace that control has requested. */
  get pace(): Pace {
    return this.#pace;
  }

  /** Reports a change that control waits for. */
  reportSoon(): void {
    if (this.#soon !== undefined) return;
    const waitMs = this.#reportedAtMs + BETWEEN_MS - performance.now();
    const report = () => {
      this.#soon = undefined;
      this.#report();
    };
    this.#soon = setTimeout(report, Math.max(SOON_MS, waitMs));
  }

  close(): void {
    clearInterval(this.#interval);
    clearTimeout(this.#soon);
    this.#link.close();
  }

  #report(): void {
    this.#reportedAtMs = performance.now();
    this.#send({ $case: 'stats', value: this.options.measure() });
  }

  #send(body: NonNullable<SessionRequest['body']>): void {
    this.#link.stream?.write({ body });
  }
}

function readPace({ goawaysPerSecond, drainRemainingMs: remainingMs }: WirePace): Pace {
  const drainUntilMs = remainingMs === undefined ? undefined : performance.now() + remainingMs;
  return { goawaysPerSecond, drainUntilMs };
}
