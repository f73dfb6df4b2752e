/**
 * The edge's session with control: counts go up every two seconds, assignments come down, and how
 * fast clients are to be told to go. Nothing that carries pushes waits for it.
 */
import type { ChannelCredentials, ClientDuplexStream, Metadata } from '@grpc/grpc-js';
import type { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { GrpcLink, LINK_OPTIONS } from '../../common/process/grpc-link.js';
import type { Logger } from '../../common/process/log.js';
import {
  EdgeSessionServiceClient,
  type Hello,
  type Pace,
  type SessionRequest,
  type SessionResponse,
  type Stats,
} from '../../proto/gen/longline/v1/edge_session.js';

const STATS_INTERVAL_MS = 2_000;
/** What changes within so short a time is one report. */
const SOON_MS = 50;
/**
 * While shards move, something changes all the time, and each report tells of all shards: without a
 * bound, edges do little else.
 */
const BETWEEN_MS = 250;

export class ControlLink {
  readonly #link: GrpcLink<
    EdgeSessionServiceClient,
    SessionResponse,
    ClientDuplexStream<SessionRequest, SessionResponse>
  >;
  readonly #interval: NodeJS.Timeout;
  #soon: NodeJS.Timeout | undefined;
  #reportedAtMs = Number.NEGATIVE_INFINITY;
  #pace: Pace = { goawaysPerSecond: 0, drainUntilMs: 0 };

  /**
   * @param addresses `host:port` of each control
   * @param credentials with which they are connected to
   * @param shown what they are shown
   * @param hello what the edge is, as it would say it now
   * @param measure what the edge holds now
   */
  constructor(
    addresses: readonly string[],
    credentials: ChannelCredentials,
    shown: Metadata,
    feed: AssignmentFeed,
    hello: () => Hello,
    readonly measure: () => Stats,
    log: Logger,
  ) {
    this.#link = new GrpcLink(
      'control',
      addresses.map((address) => new EdgeSessionServiceClient(address, credentials, LINK_OPTIONS)),
      (client) => {
        // What another control asked for may be too fast by now; its deadline is still a deadline.
        this.#pace = { ...this.#pace, goawaysPerSecond: 0 };
        const stream = client.session(shown);
        stream.write({ body: { $case: 'hello', value: hello() } });
        stream.write({ body: { $case: 'stats', value: measure() } });
        return stream;
      },
      ({ assignment, pace }) => {
        this.#pace = pace ?? this.#pace;
        if (assignment === undefined) return;
        feed.offerWire(assignment, hello().shardCount, log);
        // Control learns at once, not two seconds later, what the assignment has changed here.
        this.reportSoon();
      },
      log,
    );
    this.#interval = setInterval(() => this.#report(), STATS_INTERVAL_MS);
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** What control has asked for last. */
  get pace(): Pace {
    return this.#pace;
  }

  /** Something has changed that control waits for. */
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
    this.#link.stream?.write({ body: { $case: 'stats', value: this.measure() } });
  }
}
