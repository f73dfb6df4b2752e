/** A cluster in the model: edges, clients and controls, and the invariants that are checked. */
import { type Assignment, ownerOf } from '../../common/cluster/assignment.js';
import { ProjectedLoads } from '../../control/placement/projected-loads.js';
import type { PlannerOptions } from '../../control/planning/planner-events.js';
import { findViolation, Store, VirtualClock } from './model.js';
import { lognormal } from './random.js';
import { LEASE_MS, SimControl } from './sim-control.js';
import { SimEdge } from './sim-edge.js';

export interface SimClusterOptions {
  readonly random: () => number;
  readonly shardCount: number;
  readonly edgeCount: number;
  readonly movesInFlightMax: number;
  /** Spread of the shards' sizes: 0 makes them equal. */
  readonly sigma: number;
}

const CAPACITY = 100_000;
const CLIENTS_PER_SHARD = 100;
/** Time for an edge that has just started, or got a shard in an emergency, to subscribe. */
const GRACE_MS = 15_000;

export class SimCluster {
  readonly clock = new VirtualClock();
  readonly store = new Store();
  readonly edges: SimEdge[] = [];
  readonly controls: SimControl[] = [];
  readonly violations: string[] = [];
  /** Clients per shard, over all edges. */
  readonly sizes: Float64Array;
  /** Clients whose shard changed its owner although the old owner was up. */
  clientsMoved = 0;
  movesStarted = 0;
  /** Scales the probability of network faults, 0 to 1. */
  faultRate = 0;
  readonly plannerOptions: PlannerOptions;
  readonly #ownedSinceMs: Float64Array;
  /** Shards whose owner got them because the previous one had died, without a subscription. */
  readonly #inEmergency = new Set<number>();
  readonly #sessions = new Map<string, { number: number; control: SimControl }>();
  readonly #cutUntilMs = new Map<string, number>();
  /** Edges whose machine is down. */
  readonly #silent = new Set<string>();
  #lastSession = 0;

  constructor(readonly options: SimClusterOptions) {
    const { random, shardCount, sigma } = options;
    this.sizes = Float64Array.from({ length: shardCount }, () =>
      Math.max(1, Math.round(CLIENTS_PER_SHARD * lognormal(random, sigma))),
    );
    this.#ownedSinceMs = new Float64Array(shardCount).fill(Number.NEGATIVE_INFINITY);
    this.plannerOptions = {
      shardCount,
      movesInFlightMax: options.movesInFlightMax,
      messageWeight: 0,
      acquireMs: 10_000,
      handOverMs: 60_000,
    };
    this.store.onCommit = (before, next) => this.#onCommit(before, next);
    this.addControl();
    for (let i = 0; i < options.edgeCount; i++) this.addEdge();
    // Clients connect as soon as their shard has an owner.
    for (let shard = 0; shard < shardCount; shard++)
      this.#connectClients(shard, this.sizes[shard]!);
  }

  get nowMs(): number {
    return this.clock.nowMs;
  }

  /** The control that leads. */
  get leader(): SimControl {
    return this.controls.at(-1)!;
  }

  get upEdges(): SimEdge[] {
    return this.edges.filter((edge) => edge.isUp);
  }

  addControl(): SimControl {
    const { random } = this.options;
    const control = new SimControl(
      this.clock,
      this.store,
      {
        redisMs: () => 1 + random() * (random() < this.faultRate * 0.1 ? 3_000 : 10),
        losesReply: () => random() < this.faultRate * 0.05,
        connectMs: () => this.#latencyMs(),
        isClosed: (edgeId) => this.#isClosed(edgeId),
        endSession: (session) => this.#endSession(session),
      },
      this.plannerOptions,
      (violation) => this.addViolation(violation),
    );
    this.controls.push(control);
    return control;
  }

  addEdge(): SimEdge {
    const { random, shardCount } = this.options;
    const edge: SimEdge = new SimEdge(
      `edge-${String(this.edges.length).padStart(3, '0')}`,
      shardCount,
      () => (random() < this.faultRate * 0.1 ? 30_000 * random() : 50 + 500 * random()),
      (shard) => this.#onUnsubscribe(edge, shard),
    );
    this.edges.push(edge);
    this.clock.in(1_000 * random(), () => this.#tick(edge));
    this.clock.in(2_000 * random(), () => this.#report(edge));
    return edge;
  }

  /**
   * @param downMs time until the edge restarts; Infinity: never
   * @param isSilent the machine is gone, too: its ports do not even answer
   */
  kill(edge: SimEdge, downMs: number, isSilent = false): void {
    if (!edge.isUp) return;
    if (isSilent) this.#silent.add(edge.id);
    this.#disconnect(edge);
    const lost = edge.die();
    for (const [shard, clients] of lost.entries()) this.#connectClients(shard, clients);
    if (downMs < Number.POSITIVE_INFINITY) {
      this.clock.in(downMs, () => {
        this.#silent.delete(edge.id);
        edge.start(this.nowMs);
      });
    }
  }

  /** Disconnects the edge from control; it reconnects after `forMs` at the earliest. */
  cutFromControl(edge: SimEdge, forMs: number): void {
    this.#disconnect(edge);
    this.#cutUntilMs.set(edge.id, this.nowMs + forMs);
  }

  /**
   * A firewall ends the connections of the edge to control for `forMs` and answers new ones with a
   * reset. The edge still has its devices and Redis.
   */
  rejectFromControl(edge: SimEdge, forMs: number): void {
    edge.rejectsControl = true;
    this.cutFromControl(edge, forMs);
    this.clock.in(forMs, () => {
      edge.rejectsControl = false;
    });
  }

  /** Disconnects the edge from Redis for `forMs`. */
  cutFromRedis(edge: SimEdge, forMs: number): void {
    edge.isCutFromRedis = true;
    this.clock.in(forMs, () => {
      edge.isCutFromRedis = false;
    });
  }

  /**
   * Redis loses writes. Edges follow the lost assignment until control writes a newer one, so the
   * owners in the store are none meanwhile.
   */
  loseWrites(writes: number): void {
    const lost = this.store.assignment;
    this.store.loseWrites(writes);
    const stored = this.store.assignment;
    if (lost === undefined || stored === undefined) return;
    for (let shard = 0; shard < lost.owners.length; shard++) {
      if (ownerOf(lost, shard)?.id !== ownerOf(stored, shard)?.id) this.#inEmergency.add(shard);
    }
  }

  /** Load of the fullest edge, divided by the best that shards of these sizes allow. */
  maxOverReachable(): number {
    const { edges, owners } = this.store.assignment!;
    const loads = { load: this.sizes, connections: this.sizes, isKnown: new Uint8Array() };
    const projected = new ProjectedLoads(
      edges.map(({ id, intent }) => ({ id, capacity: 1e6, isEligible: intent === 'none' })),
      owners,
      loads,
    );
    return projected.imbalance().maxOverReachable;
  }

  addViolation(violation: string): void {
    this.violations.push(`at ${Math.round(this.nowMs)} ms: ${violation}`);
  }

  #onCommit(before: Assignment | undefined, next: Assignment): void {
    const violation = findViolation(before, next, this.options.movesInFlightMax);
    if (violation !== undefined) this.addViolation(violation);
    const moving = new Set(before?.moves.map((move) => move.shard));
    this.movesStarted += next.moves.filter((move) => !moving.has(move.shard)).length;
    for (let shard = 0; shard < next.owners.length; shard++) {
      const [from, to] = [before && ownerOf(before, shard), ownerOf(next, shard)];
      if (from?.id === to?.id) continue;
      this.#ownedSinceMs[shard] = this.nowMs;
      this.#inEmergency.add(shard);
      const isNewHistory = next.position.incarnation > (before?.position.incarnation ?? 0);
      const isOrphan = from === undefined || !next.edges.some(({ id }) => id === from.id);
      if (isNewHistory || isOrphan) continue;
      this.#inEmergency.delete(shard);
      this.clientsMoved += this.sizes[shard]!;
      const owner = this.edges.find(({ id }) => id === to!.id)!;
      const isReady = owner.isSubscribed(this.nowMs, shard);
      const isExcused =
        !owner.isUp || owner.isCutFromRedis || this.nowMs < owner.startedAtMs + GRACE_MS;
      if (!isReady && !isExcused) {
        this.addViolation(
          `shard ${shard} went from ${from.id} to ${to!.id}, which is not subscribed`,
        );
      }
    }
  }

  /** Another edge must be subscribed, unless the owner is dead or got the shard in an emergency. */
  #onUnsubscribe(edge: SimEdge, shard: number): void {
    const isReceived = this.edges.some(
      (other) => other !== edge && other.isSubscribed(this.nowMs, shard),
    );
    if (isReceived || this.#inEmergency.has(shard)) return;
    if (this.nowMs < this.#ownedSinceMs[shard]! + GRACE_MS) return;
    const owner = ownerOf(this.store.assignment!, shard);
    const process = this.edges.find(({ id }) => id === owner?.id);
    // A process that has restarted since, or just before, has to subscribe again.
    const isExcused =
      process === undefined ||
      !process.isUp ||
      process.isCutFromRedis ||
      process.startedAtMs > this.#ownedSinceMs[shard]! - GRACE_MS;
    if (!isExcused)
      this.addViolation(`no edge is subscribed to shard ${shard} after ${edge.id} unsubscribed`);
  }

  /** Connects clients to the owner of their shard, with retries until it has one that is up. */
  #connectClients(shard: number, clients: number): void {
    if (clients === 0) return;
    const owner = this.store.assignment && ownerOf(this.store.assignment, shard);
    const edge = this.edges.find(({ id, isUp }) => id === owner?.id && isUp);
    if (edge === undefined) this.clock.in(1_000, () => this.#connectClients(shard, clients));
    else edge.clients[shard]! += clients;
  }

  #tick(edge: SimEdge): void {
    const { random } = this.options;
    this.clock.in(1_000, () => this.#tick(edge));
    if (!edge.isUp) return;
    const assignment = this.store.assignment;
    // The edge polls Redis or receives the assignment from control, after some delay.
    if (random() < 0.7) this.clock.in(200 * random(), () => edge.isUp && edge.receive(assignment));
    edge.updateSubscriptions(this.nowMs);
    this.#moveClients(edge);
  }

  /** Moves clients of shards that it does not own: fast for a move, slowly for guests. */
  #moveClients(edge: SimEdge): void {
    const { assignment } = edge;
    if (assignment === undefined) return;
    const handedOver = new Set(
      assignment.moves.flatMap(({ shard, from, phase }) =>
        from === edge.id && phase === 'handing-over' ? [shard] : [],
      ),
    );
    const index = assignment.edges.findIndex(({ id }) => id === edge.id);
    for (let shard = 0; shard < edge.shardCount; shard++) {
      const clients = edge.clients[shard]!;
      if (clients === 0 || assignment.owners[shard] === index) continue;
      const leaving = handedOver.has(shard) ? Math.ceil(clients / 2) : Math.ceil(clients / 20);
      edge.clients[shard]! -= leaving;
      this.#connectClients(shard, leaving);
    }
  }

  #report(edge: SimEdge): void {
    const { random } = this.options;
    this.clock.in(2_000, () => this.#report(edge));
    if (!edge.isUp || this.nowMs < (this.#cutUntilMs.get(edge.id) ?? 0)) return;
    const session = this.#sessions.get(edge.id) ?? this.#connect(edge);
    const { control, number } = session;
    const [moves, loads] = [edge.moveReport(this.nowMs), edge.loadReport()];
    const counts = {
      connections: loads.connections,
      guests: 0,
      shardsSubscribed: edge.subscribed.size,
      ready: !edge.isCutFromRedis,
      shards: loads.shards,
    };
    const send = () => control.onStats(edge.id, number, moves, loads, counts, CAPACITY);
    this.clock.in(this.#latencyMs(), send);
    if (random() < this.faultRate * 0.2) this.clock.in(2 * this.#latencyMs(), send);
  }

  #connect(edge: SimEdge): { number: number; control: SimControl } {
    const { random } = this.options;
    const running = this.controls.filter((control) => !control.isStopped);
    // Usually the leader; with faults also a control that has not noticed its successor.
    const isMisdirected = random() < this.faultRate * 0.2;
    const control = isMisdirected ? running[Math.floor(random() * running.length)]! : this.leader;
    const session = { number: ++this.#lastSession, control };
    this.#sessions.set(edge.id, session);
    const { id, incarnation, assignment } = edge;
    control.onMembershipEvent({
      type: 'hello',
      session: session.number,
      edge: {
        id,
        incarnation: `i${incarnation}`,
        advertisedUrl: `http://${id}`,
        capacity: CAPACITY,
        zone: '',
      },
      have: assignment?.position ?? { incarnation: 0, epoch: 0 },
    });
    return session;
  }

  #disconnect(edge: SimEdge): void {
    const session = this.#sessions.get(edge.id);
    this.#sessions.delete(edge.id);
    session?.control.onMembershipEvent({
      type: 'disconnected',
      edgeId: edge.id,
      session: session.number,
    });
  }

  #isClosed(edgeId: string): boolean {
    const edge = this.edges.find(({ id }) => id === edgeId);
    if (edge === undefined || this.#silent.has(edgeId)) return false;
    return !edge.isUp || edge.rejectsControl;
  }

  #endSession(number: number): void {
    for (const [edgeId, session] of this.#sessions) {
      if (session.number === number) this.#sessions.delete(edgeId);
    }
  }

  /** Multiplies the clients of all shards on `edge` by `factor`. */
  grow(edge: SimEdge, factor: number): void {
    for (const [shard, clients] of edge.clients.entries()) {
      const more = Math.round(clients * (factor - 1));
      edge.clients[shard]! += more;
      this.sizes[shard]! += more;
    }
  }

  /** Changes the number of clients of every shard by up to `share`. */
  churn(share: number): void {
    const { random } = this.options;
    for (const edge of this.upEdges) {
      for (const [shard, clients] of edge.clients.entries()) {
        const change = Math.round(clients * share * (2 * random() - 1));
        edge.clients[shard]! += change;
        this.sizes[shard]! += change;
      }
    }
  }

  /** Starts a control that leads; edges connect to it when their previous sessions end. */
  elect(): void {
    const before = this.leader;
    this.addControl();
    for (const edge of this.edges) {
      if (this.#sessions.get(edge.id)?.control !== before) continue;
      this.clock.in(LEASE_MS * 0.5 * this.options.random(), () => this.#disconnect(edge));
    }
  }

  #latencyMs(): number {
    const { random } = this.options;
    return random() < this.faultRate * 0.1 ? 8_000 * random() : 5 + 50 * random();
  }
}
