/** One cluster in the model: its edges, its clients, its controls, and what must hold. */
import { type Assignment, ownerOf } from '../../common/cluster/assignment.js';
import type { PlannerOptions } from '../../control/planning/planner.js';
import { ProjectedLoads } from '../../control/placement/projected-loads.js';
import { lognormal } from './random.js';
import { Agenda, findTableViolation, Store } from './model.js';
import { LEASE_MS, SimControl } from './sim-control.js';
import { SimEdge } from './sim-edge.js';

export interface WorldOptions {
  readonly random: () => number;
  readonly shardCount: number;
  readonly edgeCount: number;
  readonly movesInFlightMax: number;
  /** Of the shards' sizes: 0 is alike. */
  readonly sigma: number;
}

const CAPACITY = 100_000;
const CLIENTS_PER_SHARD = 100;
/** An edge that has just started, or just got a shard in an emergency, needs a while. */
const GRACE_MS = 15_000;

export class World {
  readonly agenda = new Agenda();
  readonly store = new Store();
  readonly edges: SimEdge[] = [];
  readonly controls: SimControl[] = [];
  readonly violations: string[] = [];
  /** Clients per shard, wherever they are. */
  readonly sizes: Float64Array;
  /** Clients that changed their owner without the old one being gone. */
  clientsMoved = 0;
  movesBegun = 0;
  /** What of the network is bad at the moment, from 0 to 1. */
  badness = 0;
  readonly plannerOptions: PlannerOptions;
  readonly #ownedSinceMs: Float64Array;
  /** Shards whose owner got them because the one before had died: it may have to begin from nothing. */
  readonly #inEmergency = new Set<number>();
  readonly #sessions = new Map<string, { number: number; control: SimControl }>();
  #lastSession = 0;

  constructor(readonly options: WorldOptions) {
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
    // Clients find their owner as soon as there is one.
    for (let shard = 0; shard < shardCount; shard++) this.#seat(shard, this.sizes[shard]!);
  }

  get nowMs(): number {
    return this.agenda.nowMs;
  }

  /** The one that edges look for. */
  get leader(): SimControl {
    return this.controls.at(-1)!;
  }

  get upEdges(): SimEdge[] {
    return this.edges.filter((edge) => edge.isUp);
  }

  addControl(): SimControl {
    const { random } = this.options;
    const control = new SimControl(
      this.agenda,
      this.store,
      {
        redisMs: () => 1 + random() * (random() < this.badness * 0.1 ? 3_000 : 10),
        losesAnswer: () => random() < this.badness * 0.05,
      },
      this.plannerOptions,
      (session) => this.#endSession(session),
    );
    this.controls.push(control);
    return control;
  }

  addEdge(): SimEdge {
    const { random, shardCount } = this.options;
    const edge: SimEdge = new SimEdge(
      `edge-${String(this.edges.length).padStart(3, '0')}`,
      shardCount,
      () => (random() < this.badness * 0.1 ? 30_000 * random() : 50 + 500 * random()),
      (shard) => this.#onUnsubscribe(edge, shard),
    );
    this.edges.push(edge);
    this.agenda.in(1_000 * random(), () => this.#tick(edge));
    this.agenda.in(2_000 * random(), () => this.#report(edge));
    return edge;
  }

  /** @param downMs Infinity: for ever */
  kill(edge: SimEdge, downMs: number): void {
    if (!edge.isUp) return;
    this.#disconnect(edge);
    const lost = edge.die();
    for (const [shard, clients] of lost.entries()) this.#seat(shard, clients);
    if (downMs < Number.POSITIVE_INFINITY) {
      this.agenda.in(downMs, () => edge.start(this.nowMs));
    }
  }

  /** The edge's session breaks; it finds a control again, after `forMs` at the earliest. */
  cut(edge: SimEdge, forMs: number): void {
    this.#disconnect(edge);
    this.#cutUntilMs.set(edge.id, this.nowMs + forMs);
  }

  /** The edge hears nothing of Redis for so long. */
  deafen(edge: SimEdge, forMs: number): void {
    edge.startsUnsubscribed = true;
    this.agenda.in(forMs, () => {
      edge.startsUnsubscribed = false;
    });
  }

  readonly #cutUntilMs = new Map<string, number>();

  /** What the fullest edge owns, over what shards of these sizes allow: 1 is perfect. */
  maxOverReachable(): number {
    const { edges, owners } = this.store.table!;
    const loads = { load: this.sizes, connections: this.sizes, isKnown: new Uint8Array() };
    const projected = new ProjectedLoads(
      edges.map(({ id, intent }) => ({ id, capacity: 1e6, takesPart: intent === 'none' })),
      owners,
      loads,
    );
    return projected.imbalance().maxOverReachable;
  }

  violate(what: string): void {
    this.violations.push(`at ${Math.round(this.nowMs)} ms: ${what}`);
  }

  #onCommit(before: Assignment | undefined, next: Assignment): void {
    const violation = findTableViolation(before, next, this.options.movesInFlightMax);
    if (violation !== undefined) this.violate(violation);
    const moving = new Set(before?.moves.map((move) => move.shard));
    this.movesBegun += next.moves.filter((move) => !moving.has(move.shard)).length;
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
        !owner.isUp || owner.startsUnsubscribed || this.nowMs < owner.startedAtMs + GRACE_MS;
      if (!isReady && !isExcused) {
        this.violate(`shard ${shard} went from ${from.id} to ${to!.id}, which does not hear it`);
      }
    }
  }

  /** Somebody else must hear the shard, unless its owner is dead or has got it in an emergency. */
  #onUnsubscribe(edge: SimEdge, shard: number): void {
    const isHeard = this.edges.some(
      (other) => other !== edge && other.isSubscribed(this.nowMs, shard),
    );
    if (isHeard || this.#inEmergency.has(shard)) return;
    if (this.nowMs < this.#ownedSinceMs[shard]! + GRACE_MS) return;
    const owner = ownerOf(this.store.table!, shard);
    const process = this.edges.find(({ id }) => id === owner?.id);
    // A process that was replaced since, or just before, has to subscribe anew, however slowly.
    const isExcused =
      process === undefined ||
      !process.isUp ||
      process.startsUnsubscribed ||
      process.startedAtMs > this.#ownedSinceMs[shard]! - GRACE_MS;
    if (!isExcused) this.violate(`nobody hears shard ${shard} after ${edge.id} let go of it`);
  }

  /** Clients that ask the router until they have found an edge. */
  #seat(shard: number, clients: number): void {
    if (clients === 0) return;
    const owner = this.store.table && ownerOf(this.store.table, shard);
    const edge = this.edges.find(({ id, isUp }) => id === owner?.id && isUp);
    if (edge === undefined) this.agenda.in(1_000, () => this.#seat(shard, clients));
    else edge.clients[shard]! += clients;
  }

  #tick(edge: SimEdge): void {
    const { random } = this.options;
    this.agenda.in(1_000, () => this.#tick(edge));
    if (!edge.isUp) return;
    const table = this.store.table;
    // It polls Redis, or hears of it from control: sooner or later.
    if (random() < 0.7) this.agenda.in(200 * random(), () => edge.isUp && edge.learn(table));
    edge.tick(this.nowMs);
    this.#letGo(edge);
  }

  /** Clients of shards that are others' leave: those of a move as told, others as they reconnect. */
  #letGo(edge: SimEdge): void {
    const { table } = edge;
    if (table === undefined) return;
    const told = new Set(
      table.moves.flatMap(({ shard, from, phase }) =>
        from === edge.id && phase === 'handing-over' ? [shard] : [],
      ),
    );
    const index = table.edges.findIndex(({ id }) => id === edge.id);
    for (let shard = 0; shard < edge.shardCount; shard++) {
      const clients = edge.clients[shard]!;
      if (clients === 0 || table.owners[shard] === index) continue;
      const leaving = told.has(shard) ? Math.ceil(clients / 2) : Math.ceil(clients / 20);
      edge.clients[shard]! -= leaving;
      this.#seat(shard, leaving);
    }
  }

  #report(edge: SimEdge): void {
    const { random } = this.options;
    this.agenda.in(2_000, () => this.#report(edge));
    if (!edge.isUp || this.nowMs < (this.#cutUntilMs.get(edge.id) ?? 0)) return;
    const session = this.#sessions.get(edge.id) ?? this.#connect(edge);
    const { control, number } = session;
    const [moves, loads] = [edge.moveReport(this.nowMs), edge.loadReport()];
    const counts = {
      connections: loads.connections,
      guests: 0,
      shardsSubscribed: edge.subscribed.size,
      ready: !edge.startsUnsubscribed,
      shards: loads.shards,
    };
    const send = () => control.onStats(edge.id, number, moves, loads, counts, CAPACITY);
    this.agenda.in(this.#latencyMs(), send);
    if (random() < this.badness * 0.2) this.agenda.in(2 * this.#latencyMs(), send);
  }

  #connect(edge: SimEdge): { number: number; control: SimControl } {
    const { random } = this.options;
    const present = this.controls.filter((control) => !control.isGone);
    // Mostly the leader; in bad weather also one that only believes to be it.
    const isAstray = random() < this.badness * 0.2;
    const control = isAstray ? present[Math.floor(random() * present.length)]! : this.leader;
    const session = { number: ++this.#lastSession, control };
    this.#sessions.set(edge.id, session);
    const { id, incarnation, table } = edge;
    control.onMember({
      type: 'hello',
      session: session.number,
      edge: {
        id,
        incarnation: `i${incarnation}`,
        advertisedUrl: `http://${id}`,
        capacity: CAPACITY,
        zone: '',
      },
      have: table?.position ?? { incarnation: 0, epoch: 0 },
    });
    return session;
  }

  #disconnect(edge: SimEdge): void {
    const session = this.#sessions.get(edge.id);
    this.#sessions.delete(edge.id);
    session?.control.onMember({ type: 'broken', edgeId: edge.id, session: session.number });
  }

  #endSession(number: number): void {
    for (const [edgeId, session] of this.#sessions) {
      if (session.number === number) this.#sessions.delete(edgeId);
    }
  }

  /** The shards of which `edge` holds clients get `factor` times as many. */
  grow(edge: SimEdge, factor: number): void {
    for (const [shard, clients] of edge.clients.entries()) {
      const more = Math.round(clients * (factor - 1));
      edge.clients[shard]! += more;
      this.sizes[shard]! += more;
    }
  }

  /** Clients come and go: every shard's size changes by up to `share`. */
  flutter(share: number): void {
    const { random } = this.options;
    for (const edge of this.upEdges) {
      for (const [shard, clients] of edge.clients.entries()) {
        const change = Math.round(clients * share * (2 * random() - 1));
        edge.clients[shard]! += change;
        this.sizes[shard]! += change;
      }
    }
  }

  /** A new control leads; edges find it when their sessions with the others end. */
  elect(): void {
    const before = this.leader;
    this.addControl();
    for (const edge of this.edges) {
      if (this.#sessions.get(edge.id)?.control !== before) continue;
      this.agenda.in(LEASE_MS * 0.5 * this.options.random(), () => this.#disconnect(edge));
    }
  }

  #latencyMs(): number {
    const { random } = this.options;
    return random() < this.badness * 0.1 ? 8_000 * random() : 5 + 50 * random();
  }
}
