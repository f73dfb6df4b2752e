/** The router's watch of the assignment at control. */
import type { ChannelCredentials, ClientReadableStream, Metadata } from '@grpc/grpc-js';
import type { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { GrpcLink, LINK_OPTIONS } from '../../common/process/grpc-link.js';
import type { Logger } from '../../common/process/log.js';
import {
  AssignmentServiceClient,
  type WatchResponse,
} from '../../proto/gen/longline/v1/assignment.js';

export class AssignmentLink {
  readonly #link: GrpcLink<
    AssignmentServiceClient,
    WatchResponse,
    ClientReadableStream<WatchResponse>
  >;

  /**
   * @param addresses `host:port` of each control
   * @param credentials with which they are connected to
   * @param shown what they are shown
   */
  constructor(
    addresses: readonly string[],
    credentials: ChannelCredentials,
    shown: Metadata,
    feed: AssignmentFeed,
    shardCount: number,
    log: Logger,
  ) {
    this.#link = new GrpcLink(
      'control',
      addresses.map((address) => new AssignmentServiceClient(address, credentials, LINK_OPTIONS)),
      (client) => client.watch({ have: feed.position }, shown),
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
  }
}
