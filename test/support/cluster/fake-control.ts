/**
 * A control for real edges and routers, whose assignments and paces the test chooses. Like controls
 * before 0.2.0 it sends whole assignments.
 */
import {
  Metadata,
  type ServerDuplexStream,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js';
import {
  type AssignedEdge,
  type Assignment,
  type Content,
  toWire,
} from '../../../common/cluster/assignment.js';
import {
  bindGrpc,
  createGrpcServer,
  type GrpcServer,
} from '../../../common/process/grpc/grpc-server.js';
import {
  AssignmentServiceService,
  type WatchRequest,
  type WatchResponse,
} from '../../../proto/gen/longline/v1/assignment.js';
import {
  EdgeSessionServiceService,
  type Hello,
  type Pace,
  type SessionRequest,
  type SessionResponse,
  type Stats,
} from '../../../proto/gen/longline/v1/edge_session.js';

interface Session {
  readonly hello: Hello;
  readonly call: ServerDuplexStream<SessionRequest, SessionResponse>;
  /** The last report. */
  stats: Stats | undefined;
}

const INITIAL: Assignment = {
  position: { incarnation: 1, epoch: 0 },
  edges: [],
  owners: new Uint16Array(0),
  moves: [],
  isBalancing: false,
};

export class FakeControl {
  readonly sessions = new Map<string, Session>();
  readonly #watches = new Set<ServerWritableStream<WatchRequest, WatchResponse>>();
  current = INITIAL;
  /** While false, sessions of edges are rejected. */
  isLeader = true;
  rejections = 0;

  private constructor(
    readonly grpc: GrpcServer,
    readonly address: string,
  ) {}

  static async start(): Promise<FakeControl> {
    const grpc = createGrpcServer([], {});
    const address = `127.0.0.1:${await bindGrpc(grpc.server, '127.0.0.1', 0)}`;
    // Services can still be added after the bind: no peer knows the address yet.
    const control = new FakeControl(grpc, address);
    grpc.server.addService(EdgeSessionServiceService, {
      session: (call: Session['call']) => control.#open(call),
    });
    grpc.server.addService(AssignmentServiceService, {
      watch: (call: ServerWritableStream<WatchRequest, WatchResponse>) => control.#watch(call),
    });
    return control;
  }

  /** Makes `content` the newest assignment and sends it to all peers, or only to one role. */
  publish(content: Content, recipients: 'all' | 'edges' | 'routers' = 'all'): void {
    const { incarnation, epoch } = this.current.position;
    this.current = { ...content, position: { incarnation, epoch: epoch + 1 } };
    const assignment = toWire(this.current);
    if (recipients !== 'routers') {
      for (const { call } of this.sessions.values())
        call.write({ assignment, pace: undefined, delta: undefined, clientScan: undefined });
    }
    if (recipients !== 'edges') {
      for (const call of this.#watches)
        call.write({ assignment, suspects: undefined, delta: undefined });
    }
  }

  pace(edgeId: string, pace: Partial<Pace>): void {
    const whole = { goawaysPerSecond: 0, drainUntilMs: 0, ...pace };
    this.sessions
      .get(edgeId)!
      .call.write({ assignment: undefined, pace: whole, delta: undefined, clientScan: undefined });
  }

  /** The report of an edge under the newest assignment. @throws Error until it has sent one */
  stats(edgeId: string): Stats {
    const stats = this.sessions.get(edgeId)?.stats;
    if (stats?.measuredUnder?.epoch === this.current.position.epoch) return stats;
    throw new Error(`${edgeId} has not reported under the newest assignment`);
  }

  /** The connected edges as in their hello, sorted by id. */
  edges(intents: Record<string, AssignedEdge['intent']> = {}): AssignedEdge[] {
    return [...this.sessions.values()]
      .map(({ hello }) => ({
        id: hello.edgeId,
        incarnation: hello.incarnation,
        advertisedUrl: hello.advertisedUrl,
        frontAddress: hello.frontAddress,
        intent: intents[hello.edgeId] ?? 'none',
      }))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  stop(): void {
    this.grpc.server.forceShutdown();
  }

  #open(call: Session['call']): void {
    if (!this.isLeader) {
      this.rejections++;
      call.emit('error', { code: status.UNAVAILABLE, details: 'not the leader' });
      return;
    }
    let session: Session | undefined;
    call.on('data', ({ body }: SessionRequest) => {
      if (body?.$case === 'stats') session!.stats = body.value;
      if (body?.$case !== 'hello') return;
      session = { hello: body.value, call, stats: undefined };
      this.sessions.set(body.value.edgeId, session);
      call.sendMetadata(new Metadata());
      if (this.current !== INITIAL) {
        call.write({
          assignment: toWire(this.current),
          pace: undefined,
          delta: undefined,
          clientScan: undefined,
        });
      }
    });
    call.on('close', () => {
      const { edgeId } = session?.hello ?? {};
      if (edgeId && this.sessions.get(edgeId) === session) this.sessions.delete(edgeId);
    });
    call.on('error', () => {});
  }

  #watch(call: ServerWritableStream<WatchRequest, WatchResponse>): void {
    call.sendMetadata(new Metadata());
    this.#watches.add(call);
    if (this.current !== INITIAL) {
      call.write({ assignment: toWire(this.current), suspects: undefined, delta: undefined });
    }
    call.on('close', () => this.#watches.delete(call));
  }
}
