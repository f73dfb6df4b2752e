/** Stands in for control: the edges and routers are real, what they are told is up to the test. */
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
} from '../../../common/process/grpc-server.js';
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
  /** Of the last report. */
  stats: Stats | undefined;
}

const BEGINNING: Assignment = {
  position: { incarnation: 1, epoch: 0 },
  edges: [],
  owners: new Uint16Array(0),
  moves: [],
  isBalancing: false,
};

export class FakeControl {
  readonly sessions = new Map<string, Session>();
  readonly #watches = new Set<ServerWritableStream<WatchRequest, WatchResponse>>();
  current = BEGINNING;
  /** Whether it lets anybody in. */
  leads = true;
  rejections = 0;

  private constructor(
    readonly grpc: GrpcServer,
    readonly address: string,
  ) {}

  static async start(): Promise<FakeControl> {
    const grpc = createGrpcServer([], {});
    const address = `127.0.0.1:${await bindGrpc(grpc.server, '127.0.0.1', 0)}`;
    // Bound first, as the address is all that the edges need; nobody knows it yet.
    const control = new FakeControl(grpc, address);
    grpc.server.addService(EdgeSessionServiceService, {
      session: (call: Session['call']) => control.#open(call),
    });
    grpc.server.addService(AssignmentServiceService, {
      watch: (call: ServerWritableStream<WatchRequest, WatchResponse>) => control.#watch(call),
    });
    return control;
  }

  /** Makes `content` the newest assignment and tells everybody, or only those who are named. */
  publish(content: Content, hearers: 'all' | 'edges' | 'routers' = 'all'): void {
    const { incarnation, epoch } = this.current.position;
    this.current = { ...content, position: { incarnation, epoch: epoch + 1 } };
    const assignment = toWire(this.current);
    if (hearers !== 'routers') {
      for (const { call } of this.sessions.values()) call.write({ assignment, pace: undefined });
    }
    if (hearers !== 'edges') for (const call of this.#watches) call.write({ assignment });
  }

  pace(edgeId: string, pace: Partial<Pace>): void {
    const whole = { goawaysPerSecond: 0, drainUntilMs: 0, ...pace };
    this.sessions.get(edgeId)!.call.write({ assignment: undefined, pace: whole });
  }

  /** What the edge has reported under the newest assignment. @throws until it has */
  stats(edgeId: string): Stats {
    const stats = this.sessions.get(edgeId)?.stats;
    if (stats?.measuredUnder?.epoch === this.current.position.epoch) return stats;
    throw new Error(`${edgeId} has not reported under the newest assignment`);
  }

  /** The edges as they have introduced themselves, sorted. */
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
    if (!this.leads) {
      this.rejections++;
      call.emit('error', { code: status.UNAVAILABLE, details: 'another one leads' });
      return;
    }
    let session: Session | undefined;
    call.on('data', ({ body }: SessionRequest) => {
      if (body?.$case === 'stats') session!.stats = body.value;
      if (body?.$case !== 'hello') return;
      session = { hello: body.value, call, stats: undefined };
      this.sessions.set(body.value.edgeId, session);
      call.sendMetadata(new Metadata());
      if (this.current !== BEGINNING) {
        call.write({ assignment: toWire(this.current), pace: undefined });
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
    if (this.current !== BEGINNING) call.write({ assignment: toWire(this.current) });
    call.on('close', () => this.#watches.delete(call));
  }
}
