/** The router's link to control: watches the assignment. */
import type { ChannelCredentials, ClientReadableStream, Metadata } from '@grpc/grpc-js';
import type { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { GrpcLink, LINK_OPTIONS } from '../../common/process/grpc-link.js';
import type { Logger } from '../../common/process/log.js';
import {
  AssignmentServiceClient,
  type WatchResponse,
} from '../../proto/gen/longline/v1/assignment.js';

interface AssignmentLinkOptions {
  /** `host:port` of each control. */
  readonly addresses: readonly string[];
  readonly credentials: ChannelCredentials;
  /** Sent with each call: the link token. */
  readonly metadata: Metadata;
  readonly feed: AssignmentFeed;
  readonly shardCount: number;
  readonly log: Logger;
}

export class AssignmentLink {
  readonly #link: GrpcLink<
    AssignmentServiceClient,
    WatchResponse,
    ClientReadableStream<WatchResponse>
  >;

  constructor(options: AssignmentLinkOptions) {
    const { addresses, credentials, metadata, feed, shardCount, log } = options;
    this.#link = new GrpcLink(
      'control',
      addresses.map((address) => new AssignmentServiceClient(address, credentials, LINK_OPTIONS)),
      (client) => client.watch({ have: feed.position }, metadata),
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
