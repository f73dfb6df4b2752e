/** The router's link to control: watches the assignment and the edges that control suspects. */
import type { ChannelCredentials, ClientReadableStream, Metadata } from '@grpc/grpc-js';
import type { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { deadlineIn } from '../../common/process/grpc/calls.js';
import { GrpcLink, LINK_OPTIONS } from '../../common/process/grpc-link.js';
import type { Logger } from '../../common/process/log.js';
import { ORIGIN } from '../../common/wire/position.js';
import {
  AssignmentServiceClient,
  type EdgeProcess,
  type RouterLoad,
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

/** A report that control does not receive by then is of no use. */
const REPORT_TIMEOUT_MS = 1_000;

export class AssignmentLink {
  readonly #clients: readonly AssignmentServiceClient[];
  readonly #metadata: Metadata;
  /** The next watch has to begin with the whole assignment. */
  #needsWhole = false;
  /** `id incarnation` of the edges whose session with control has broken. */
  #suspects: ReadonlySet<string> = new Set();
  readonly #link: GrpcLink<
    AssignmentServiceClient,
    WatchResponse,
    ClientReadableStream<WatchResponse>
  >;

  constructor(options: AssignmentLinkOptions) {
    const { addresses, credentials, metadata, feed, shardCount, log } = options;
    this.#metadata = metadata;
    this.#clients = addresses.map(
      (address) => new AssignmentServiceClient(address, credentials, LINK_OPTIONS),
    );
    this.#link = new GrpcLink(
      'control',
      this.#clients,
      (client) => {
        const have = this.#needsWhole ? ORIGIN : feed.position;
        this.#needsWhole = false;
        return client.watch({ have, acceptsDeltas: true }, metadata);
      },
      (response) => {
        const { suspects } = response;
        if (suspects !== undefined) this.#suspects = new Set(suspects.edges.map(keyOf));
        if (!feed.offerUpdate(response, shardCount, log)) return;
        // The request of a watch is its only message: another watch asks for the whole.
        this.#needsWhole = true;
        this.#link.stream?.cancel();
      },
      log,
    );
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** Whether control suspects the edge, or is not connected. */
  isSuspect(edge: EdgeProcess): boolean {
    return !this.isUp || this.#suspects.has(keyOf(edge));
  }

  /**
   * Reports to every control, because only one of them leads, that the port of the edge is closed.
   */
  reportClosedPort({ id, incarnation }: EdgeProcess): void {
    const request = { edge: { id, incarnation } };
    for (const client of this.#clients) {
      const deadline = deadlineIn(REPORT_TIMEOUT_MS);
      client.reportClosedPort(request, this.#metadata, { deadline }, () => {});
    }
  }

  /** Also to every control. The next report makes up for a lost one. */
  reportLoad(load: RouterLoad): void {
    for (const client of this.#clients) {
      const deadline = deadlineIn(REPORT_TIMEOUT_MS);
      client.reportLoad({ load }, this.#metadata, { deadline }, () => {});
    }
  }

  close(): void {
    this.#link.close();
  }
}

function keyOf({ id, incarnation }: EdgeProcess): string {
  return `${id} ${incarnation}`;
}
