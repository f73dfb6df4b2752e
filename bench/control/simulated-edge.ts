/**
 * An edge as control sees it: a device port, a session over a connection of its own, reports, and
 * its part in moves. It has no devices and no Redis. All edges of a process share one assignment,
 * because a thousand decoded ones would be gigabytes.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import type { Assignment } from '../../common/cluster/assignment.js';
import type { AssignmentUpdate } from '../../common/cluster/assignment-delta.js';
import type { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { LINK_OPTIONS } from '../../common/process/grpc-link.js';
import type { Position } from '../../common/wire/position.js';
import {
  EdgeSessionServiceService,
  SessionResponse,
} from '../../proto/gen/longline/v1/edge_session.js';
import { encodeHello, encodeReport } from './edge-messages.js';

const { session: SESSION } = EdgeSessionServiceService;
/** As edges do. */
const SOON_MS = 50;
const RECONNECT_MS = 200;

export interface SimulatedEdgeOptions {
  readonly id: string;
  readonly capacity: number;
  readonly shardCount: number;
  /** `host:port` of control. */
  readonly control: string;
  /** Shared by the edges of this process. */
  readonly feed: AssignmentFeed;
  /** Called with each update that control sends. */
  readonly onUpdate: (update: AssignmentUpdate) => void;
}

export class SimulatedEdge {
  reports = 0;
  /** Bytes of responses received from control. */
  bytes = 0;
  #client: Client | undefined;
  /** Position of the newest assignment that it has. */
  #have: Position | undefined;
  /** Undefined until the session is accepted, and after it has ended. */
  #call: ClientDuplexStream<Buffer, Buffer> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  /** The report under an assignment, encoded. */
  #encoded: { readonly under: Assignment | undefined; readonly report: Buffer } | undefined;
  readonly #port: Server = createServer((socket) => socket.destroy());

  constructor(readonly options: SimulatedEdgeOptions) {}

  get epoch(): number {
    return this.#have?.epoch ?? 0;
  }

  get isConnected(): boolean {
    return this.#call !== undefined;
  }

  /** Resolves when control has accepted the session; reconnects from then on, as edges do. */
  async connect(): Promise<void> {
    this.#port.listen(0, '127.0.0.1');
    await once(this.#port, 'listening');
    this.#client = new Client(this.options.control, credentials.createInsecure(), {
      ...LINK_OPTIONS,
      // Like processes of their own, edges share no connection.
      'grpc.use_local_subchannel_pool': 1,
    });
    await new Promise<void>((resolve) => this.#open(resolve));
  }

  #open(onAccepted: () => void): void {
    const { id, capacity, shardCount } = this.options;
    const { port } = this.#port.address() as AddressInfo;
    const call = this.#client!.makeBidiStreamRequest(SESSION.path, asIs, asIs);
    call.on('data', (bytes: Buffer) => this.#onResponse(bytes));
    call.on('metadata', () => {
      this.#call = call;
      this.report();
      onAccepted();
    });
    call.on('error', () => {});
    call.on('status', () => {
      this.#call = undefined;
      setTimeout(() => this.#open(onAccepted), RECONNECT_MS);
    });
    call.write(encodeHello({ id, capacity, shardCount, port, have: this.#have }));
  }

  /** Reports at this interval, at a random moment of it. */
  reportEvery(intervalMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.report();
      this.#timer = setInterval(() => this.report(), intervalMs);
    }, Math.random() * intervalMs);
  }

  report(): void {
    if (this.#call === undefined) return;
    const { id, feed } = this.options;
    if (this.#encoded?.under !== feed.current || this.#encoded === undefined) {
      this.#encoded = { under: feed.current, report: encodeReport(feed.current, id) };
    }
    this.#call.write(this.#encoded.report);
    this.reports++;
  }

  #onResponse(bytes: Buffer): void {
    this.bytes += bytes.length;
    const response = decode(bytes);
    const { feed, onUpdate, id } = this.options;
    const update = response.assignment ?? response.delta;
    if (update === undefined) return;
    this.#have = update.position;
    onUpdate(response);
    if (!feed.current?.moves.some(({ from, to }) => from === id || to === id)) return;
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.report();
    }, SOON_MS);
  }
}

let decoded: { readonly bytes: Buffer; readonly response: SessionResponse } | undefined;

/** Most edges of the process receive the same bytes one after the other. */
function decode(bytes: Buffer): SessionResponse {
  if (decoded?.bytes.equals(bytes)) return decoded.response;
  decoded = { bytes, response: SessionResponse.decode(bytes) };
  return decoded.response;
}

function asIs(bytes: Buffer): Buffer {
  return bytes;
}
