/**
 * The edge's session with control: counts go up every two seconds, assignments come down. Nothing
 * that carries pushes waits for it.
 */
import { type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import type { AssignmentFeed } from '../common/assignment-feed.js';
import { GrpcLink, LINK_OPTIONS } from '../common/grpc-link.js';
import type { Logger } from '../common/log.js';
import {
  EdgeSessionServiceClient,
  type Hello,
  type SessionRequest,
  type SessionResponse,
  type Stats,
} from '../proto/gen/longline/v1/edge_session.js';

const STATS_INTERVAL_MS = 2_000;

export class ControlLink {
  readonly #client: EdgeSessionServiceClient;
  readonly #link: GrpcLink<SessionResponse, ClientDuplexStream<SessionRequest, SessionResponse>>;
  readonly #interval: NodeJS.Timeout;

  /**
   * @param address `host:port` of control
   * @param hello what the edge is, as it would say it now
   * @param measure what the edge holds now
   */
  constructor(
    address: string,
    feed: AssignmentFeed,
    hello: () => Hello,
    measure: () => Stats,
    log: Logger,
  ) {
    this.#client = new EdgeSessionServiceClient(
      address,
      credentials.createInsecure(),
      LINK_OPTIONS,
    );
    const sendStats = () => {
      this.#link.stream?.write({ body: { $case: 'stats', value: measure() } });
    };
    this.#link = new GrpcLink(
      'control',
      () => {
        const stream = this.#client.session();
        stream.write({ body: { $case: 'hello', value: hello() } });
        stream.write({ body: { $case: 'stats', value: measure() } });
        return stream;
      },
      ({ assignment }) => {
        feed.offerWire(assignment, hello().shardCount, log);
        // Control learns at once, not two seconds later, what the assignment has changed here.
        sendStats();
      },
      log,
    );
    this.#interval = setInterval(sendStats, STATS_INTERVAL_MS);
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  close(): void {
    clearInterval(this.#interval);
    this.#link.close();
    this.#client.close();
  }
}
