/** The router's watch of the assignment at control. */
import { type ClientReadableStream, credentials } from '@grpc/grpc-js';
import type { AssignmentFeed } from '../common/assignment-feed.js';
import { GrpcLink, LINK_OPTIONS } from '../common/grpc-link.js';
import type { Logger } from '../common/log.js';
import {
  AssignmentServiceClient,
  type WatchResponse,
} from '../proto/gen/longline/v1/assignment.js';

export class AssignmentLink {
  readonly #client: AssignmentServiceClient;
  readonly #link: GrpcLink<WatchResponse, ClientReadableStream<WatchResponse>>;

  /** @param address `host:port` of control */
  constructor(address: string, feed: AssignmentFeed, shardCount: number, log: Logger) {
    this.#client = new AssignmentServiceClient(address, credentials.createInsecure(), LINK_OPTIONS);
    this.#link = new GrpcLink(
      'control',
      () => this.#client.watch({ have: feed.position }),
      ({ assignment }) => {
        feed.offerWire(assignment, shardCount, log);
      },
      log,
    );
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  close(): void {
    this.#link.close();
    this.#client.close();
  }
}
