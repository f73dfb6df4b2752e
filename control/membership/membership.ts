/**
 * Membership: which edges are in the cluster, and when a change among them requires a new
 * assignment. A pure machine; `MembershipDriver` drives it.
 *
 * The difficulty is to act on knowledge and not on ignorance. A session that disconnects may be a
 * dead edge or a dropped packet, and this control may have started a second ago, before the edges
 * could connect to it. So an edge without a session keeps its shards for one lease, unless its
 * device port is proven to be closed (`port-probes.ts`): then its process is gone, and its
 * shards are placed at once. No change is acted on
 * - before the stored assignment has been read,
 * - during the initial delay (`join-delay.ts`),
 * - for a second after the last one, if edges have only joined,
 * - while an edge is suspect, unless that has lasted longer than a lease or the change is such a
 *   proof,
 * - while no edge has a session,
 * - while most edges have vanished at once (`freeze.ts`).
 * An edge with a session that reports that it is not ready is another case
 * (`partitioned-edges.ts`): it stays a member but must not own shards.
 *
 * A thousand edges send five hundred reports a second, and nearly all only renew a lease. So all
 * edges are evaluated only when more than that has changed, or when a time is due.
 *
 * Invariants:
 * - There is one record per id, and a session belongs to at most one record.
 * - An event of a session that is not the record's own changes nothing.
 * - There is at most one `replan` per change.
 */

import type { EdgeIdentity } from '../../common/cluster/assignment.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { assertNever, type Machine, type Output } from '../../common/process/state-machine.js';
import { comparePositions, ORIGIN, type Position } from '../../common/wire/position.js';
import {
  type AliveEdge,
  type EdgeCounts,
  type EdgeRecord,
  type HelloEdge,
  heardRecord,
  isAlive,
  isMember,
} from './edge-record.js';
import { Freeze, type Presence } from './freeze.js';
import { JoinDelay } from './join-delay.js';
import { deliveryOf, HEALTHY, PartitionedEdges } from './partitioned-edges.js';
import { PortProbes, type Probe } from './port-probes.js';

export type MembershipEvent =
  /** Once per term: the edges of the stored assignment; empty if nothing was stored. */
  | { readonly type: 'restored'; readonly edges: readonly EdgeIdentity[] }
  /** An edge opens a session. `have`: the newest assignment that it has. */
  | {
      readonly type: 'hello';
      readonly session: number;
      readonly edge: HelloEdge;
      readonly have: Position;
    }
  /** Undefined `counts`: implausible. The edge is alive, but its load is unknown. */
  | {
      readonly type: 'report';
      readonly edgeId: string;
      readonly session: number;
      readonly counts: EdgeCounts | undefined;
    }
  | { readonly type: 'disconnected'; readonly edgeId: string; readonly session: number }
  /** The edge has started its shutdown. May be repeated. */
  | { readonly type: 'shutting-down'; readonly edgeId: string; readonly session: number }
  /** An operator confirms that the edges that have vanished are lost. */
  | { readonly type: 'confirm-lost-edges' }
  /** `isClosed`: every address of the edge's device port is closed. */
  | ({ readonly type: 'probed'; readonly isClosed: boolean } & Probe)
  /** A router reports that the edge's device port is closed. Only a hint. */
  | {
      readonly type: 'closed-port-reported';
      readonly edgeId: string;
      readonly incarnation: string;
    };

export type MembershipAction =
  /** End the session: it was rejected or replaced, or its lease has ended. */
  | { readonly type: 'end'; readonly session: number; readonly reason: Rejection }
  /** The members have changed, and it is time for a new assignment. */
  | { readonly type: 'replan' }
  /** Drain the edge, because it is shutting down. */
  | { readonly type: 'drain'; readonly edgeId: string }
  /** Connect to the edge's device port, and pass the result as `probed`. */
  | ({ readonly type: 'probe'; readonly edge: EdgeRecord } & Probe);

/**
 * Share of its lease that is left when an edge that does not report counts as vanished. Edges
 * report every 2 s at different moments: with a lease of 8 s or more, all edges that fall silent at
 * once count as vanished before the first of them is dead.
 */
const SILENT_SHARE = 0.25;
/** An edge whose port is closed to a router and that has missed a report has no working session. */
const REPORT_MISSED_MS = 3_000;
/** How long operators see a dead edge: edges with ever new ids would accumulate. */
const DEAD_SHOWN_MS = 15 * 60_000;

const PRESENT: Presence = { vanishedAtMs: undefined };

type SuspectState = Extract<EdgeRecord['state'], { type: 'suspect' }>;

export class Membership implements Machine<MembershipEvent, MembershipAction> {
  /** By id. */
  readonly #edges = new Map<string, EdgeRecord>();
  /** Time of the oldest change that no `replan` has followed yet. */
  #changedAtMs: number | undefined;
  /** The change must not wait for suspect edges. */
  #isUrgent = false;
  /** An edge has died since the last replan: its shards have no owner. */
  #hasLost = false;
  #isRestored = false;
  /** All edges have to be evaluated, at any time. */
  #hasChanged = true;
  /** Next time that is due, by the last evaluation: reports since then only postpone it. */
  #dueAtMs = Number.NEGATIVE_INFINITY;
  #version = 0;
  /** Number of members, by the last evaluation. */
  #memberCount = 0;
  /** The ids of all edges, sorted; undefined: to be computed. */
  #ids: readonly string[] | undefined;
  #newestSeen = ORIGIN;
  readonly #joinDelay = new JoinDelay();
  readonly #freeze: Freeze;
  readonly #probes = new PortProbes();
  readonly #partitionedEdges: PartitionedEdges;
  #partitionedIds: ReadonlySet<string> = new Set();

  constructor(readonly leaseMs: number) {
    this.#freeze = new Freeze(leaseMs);
    this.#partitionedEdges = new PartitionedEdges(leaseMs);
  }

  /** Latest end of the freeze; undefined: membership is not frozen. */
  get frozenUntilMs(): number | undefined {
    return this.#freeze.endsAtMs;
  }

  /** All known edges, dead ones included, sorted by id. */
  get edges(): readonly EdgeRecord[] {
    this.#ids ??= [...this.#edges.keys()].sort();
    return this.#ids.map((id) => this.#edges.get(id)!);
  }

  /** Changes with everything but counts of edges, their leases and when they were heard. */
  get version(): number {
    return this.#version;
  }

  /** Ids of edges that are alive but cannot deliver. They must not own shards. */
  get partitionedEdges(): ReadonlySet<string> {
    return this.#partitionedIds;
  }

  /** The newest assignment that any edge has reported to have. */
  get newestSeen(): Position {
    return this.#newestSeen;
  }

  /** Handles the event before the passing of time: a late report outweighs an expired lease. */
  step(nowMs: number, event: MembershipEvent | null): Output<MembershipAction> {
    const actions: MembershipAction[] = [];
    if (event !== null) this.#handle(nowMs, event, actions);
    if (this.#hasChanged || nowMs >= this.#dueAtMs) this.#evaluate(nowMs, actions);
    this.#updatePartitioned(nowMs);
    for (const probe of this.#probes.take(nowMs)) {
      actions.push({ type: 'probe', edge: this.#edges.get(probe.edgeId)!, ...probe });
    }
    const probeAtMs = this.#probes.nextAtMs;
    return {
      actions,
      wakeAtMs: probeAtMs > nowMs ? Math.min(this.#dueAtMs, probeAtMs) : this.#dueAtMs,
    };
  }

  /** Whether the edge is alive by this session. */
  hasSession(edgeId: string, session: number): boolean {
    return this.#ofSession(edgeId, session) !== undefined;
  }

  /** Looks at all edges. */
  #evaluate(nowMs: number, actions: MembershipAction[]): void {
    const wasFrozen = this.#freeze.endsAtMs;
    this.#endSilentSessions(nowMs, actions);
    this.#freeze.update(nowMs, this.#presences(nowMs));
    this.#endLeases(nowMs, nowMs - this.leaseMs / 2);
    // Fewer members may be left now, most of which have vanished at once.
    this.#freeze.update(nowMs, this.#presences(nowMs));
    this.#endLeases(nowMs, nowMs);
    this.#removeClosed(nowMs);
    if (this.#freeze.endsAtMs !== wasFrozen) this.#onChange();
    this.#memberCount = 0;
    for (const record of this.#edges.values()) if (isMember(record)) this.#memberCount++;
    if (this.#mayReplan(nowMs)) {
      this.#changedAtMs = undefined;
      this.#isUrgent = false;
      this.#hasLost = false;
      this.#joinDelay.onReplan(nowMs);
      actions.push({ type: 'replan' });
    }
    this.#hasChanged = false;
    this.#dueAtMs = this.#nextDueAtMs(nowMs);
  }

  #onChange(): void {
    this.#hasChanged = true;
    this.#version++;
  }

  #updatePartitioned(nowMs: number): void {
    const before = this.#partitionedIds;
    this.#partitionedIds = this.#partitionedEdges.update(nowMs, this.#memberCount);
    const isSame =
      before.size === this.#partitionedIds.size &&
      [...before].every((edgeId) => this.#partitionedIds.has(edgeId));
    if (!isSame) this.#version++;
  }

  #handle(nowMs: number, event: MembershipEvent, actions: MembershipAction[]): void {
    switch (event.type) {
      case 'restored':
        this.#onRestored(nowMs, event.edges);
        break;
      case 'hello':
        this.#onHello(nowMs, event, actions);
        break;
      case 'report': {
        const record = this.#ofSession(event.edgeId, event.session);
        if (record !== undefined) this.#onReport(nowMs, event.session, record, event.counts);
        break;
      }
      case 'disconnected': {
        const record = this.#ofSession(event.edgeId, event.session);
        if (record !== undefined) this.#onDisconnected(nowMs, record);
        break;
      }
      case 'shutting-down': {
        const record = this.#ofSession(event.edgeId, event.session);
        if (record !== undefined) actions.push({ type: 'drain', edgeId: record.id });
        break;
      }
      case 'confirm-lost-edges':
        if (this.#freeze.endsAtMs !== undefined) this.#onLostEdgesConfirmed(nowMs);
        break;
      case 'probed': {
        const wasClosed = this.#probes.isClosed(event.edgeId);
        this.#probes.onResult(nowMs, event, event.isClosed);
        // In a freeze, all edges may be probed for a long time: only a proof changes something.
        if (!wasClosed && this.#probes.isClosed(event.edgeId)) this.#hasChanged = true;
        break;
      }
      case 'closed-port-reported':
        this.#onClosedPortReported(nowMs, event, actions);
        break;
      default:
        assertNever(event);
    }
  }

  #onRestored(nowMs: number, edges: readonly EdgeIdentity[]): void {
    this.#isRestored = true;
    this.#onChange();
    // Changes so far must still wait for the edges that are restored only now.
    if (this.#changedAtMs !== undefined) this.#changedAtMs = nowMs;
    for (const edge of edges) {
      if (this.#edges.has(edge.id)) continue;
      const unknown = { capacity: undefined, zone: '', counts: undefined, heardAtMs: undefined };
      this.#becomeSuspect(nowMs, { ...edge, ...unknown }, nowMs + this.leaseMs);
    }
  }

  #onReport(
    nowMs: number,
    session: number,
    record: AliveEdge,
    counts: EdgeCounts | undefined,
  ): void {
    // An edge that is shutting down is not ready either, and is drained anyway.
    const isJudged = counts !== undefined && counts.shuttingDown !== true;
    this.#partitionedEdges.onReport(nowMs, record.id, isJudged ? deliveryOf(counts) : HEALTHY);
    // It counted as vanished.
    if (nowMs >= this.#silentAtMs(record.state.leaseEndsAtMs)) this.#hasChanged = true;
    const wasShuttingDown = record.counts?.shuttingDown === true;
    if ((counts?.shuttingDown === true) !== wasShuttingDown) this.#onChange();
    this.#becomeAlive(nowMs, session, record, counts);
  }

  #onDisconnected(nowMs: number, record: AliveEdge): void {
    this.#becomeSuspect(nowMs, record, record.state.leaseEndsAtMs);
    this.#probes.begin(nowMs, record.id);
  }

  /** A connection between the edge and this control may still look open after the edge has died. */
  #onClosedPortReported(
    nowMs: number,
    { edgeId, incarnation }: Extract<MembershipEvent, { type: 'closed-port-reported' }>,
    actions: MembershipAction[],
  ): void {
    const record = this.#edges.get(edgeId);
    if (record?.incarnation !== incarnation) return;
    // A restored edge has no probe so far: the report is the reason for one.
    if (record.state.type === 'suspect') this.#probes.hasten(nowMs, edgeId);
    if (!isAlive(record) || nowMs < record.heardAtMs! + REPORT_MISSED_MS) return;
    const message = `edge ${edgeId} has missed a report, and its device port is closed`;
    const { session } = record.state;
    actions.push({ type: 'end', session, reason: rejection('NOT_READY', message) });
    this.#onDisconnected(nowMs, record);
  }

  #onLostEdgesConfirmed(nowMs: number): void {
    this.#freeze.confirmLostEdges(nowMs);
    this.#onChange();
    for (const record of this.#edges.values()) {
      if (record.state.type === 'suspect') this.#becomeDead(nowMs, record);
    }
  }

  #onHello(
    nowMs: number,
    { session, edge, have }: Extract<MembershipEvent, { type: 'hello' }>,
    actions: MembershipAction[],
  ): void {
    const known = this.#edges.get(edge.id);
    const isSameProcess = known?.incarnation === edge.incarnation;
    if (known !== undefined && isAlive(known)) {
      if (!isSameProcess) {
        actions.push({ type: 'end', session, reason: idInUse(known, edge) });
        return;
      }
      const reason = rejection('EDGE_ID_IN_USE', `edge ${edge.id} has opened a newer session`);
      actions.push({ type: 'end', session: known.state.session, reason });
    }
    if (comparePositions(have, this.#newestSeen) > 0) this.#newestSeen = have;
    this.#joinDelay.onHello(nowMs);
    const isUnchanged =
      known !== undefined &&
      known.state.type !== 'dead' &&
      isSameProcess &&
      known.advertisedUrl === edge.advertisedUrl &&
      known.frontAddress === edge.frontAddress &&
      known.capacity === edge.capacity;
    if (!isUnchanged) this.#changedAtMs ??= nowMs;
    if (!isSameProcess) this.#partitionedEdges.forget(edge.id);
    if (known === undefined) this.#ids = undefined;
    this.#onChange();
    this.#becomeAlive(nowMs, session, edge, isSameProcess ? known?.counts : undefined);
  }

  /** An edge that does not report within its lease is suspect, even with an open stream. */
  #endSilentSessions(nowMs: number, actions: MembershipAction[]): void {
    for (const record of this.#edges.values()) {
      if (!isAlive(record) || record.state.leaseEndsAtMs > nowMs) continue;
      const message = `edge ${record.id} has not reported for ${this.leaseMs} ms`;
      const reason = rejection('NOT_READY', message);
      actions.push({ type: 'end', session: record.state.session, reason });
      this.#becomeSuspect(nowMs, record, record.state.leaseEndsAtMs);
    }
  }

  /** Ends the leases of edges that had vanished by then. */
  #endLeases(nowMs: number, vanishedByMs: number): void {
    for (const record of this.#edges.values()) {
      const { state } = record;
      if (state.type === 'dead' && state.forgetAtMs <= nowMs) this.#forget(record.id);
      if (state.type !== 'suspect' || state.vanishedAtMs > vanishedByMs) continue;
      if (this.#leaseEndsAtMs(state.leaseEndsAtMs) <= nowMs) this.#becomeDead(nowMs, record);
    }
  }

  #forget(edgeId: string): void {
    this.#edges.delete(edgeId);
    this.#ids = undefined;
    this.#onChange();
  }

  #removeClosed(nowMs: number): void {
    const isHeld = this.#leaseEndsAtMs(nowMs) > nowMs;
    for (const record of this.#edges.values()) {
      if (record.state.type !== 'suspect' || !this.#probes.isClosed(record.id)) continue;
      // The start of this control was a freeze; a router and the port say that this edge is gone.
      const isRestored = record.heardAtMs === undefined && this.#freeze.endsAtMs === undefined;
      if (isHeld && !isRestored) continue;
      this.#becomeDead(nowMs, record, record.state);
      this.#isUrgent = true;
    }
  }

  /** When a suspect edge may be declared dead: not in a freeze or its grace period. */
  #leaseEndsAtMs(leaseEndsAtMs: number): number {
    return this.#freeze.endsAtMs ?? Math.max(leaseEndsAtMs, this.#freeze.graceEndsAtMs);
  }

  /**
   * Edges that fall silent with an open stream die one by one, as their leases end. So they count
   * as vanished earlier, before the first of them is dead. An edge that is dead because its port is
   * closed counts for as long as if it were silent: otherwise edges that crash one after the other
   * would never be most of them.
   */
  #presences(nowMs: number): Presence[] {
    const presences: Presence[] = [];
    for (const { state } of this.#edges.values()) {
      if (state.type === 'dead') {
        const { portClosed } = state;
        const isCounted =
          portClosed !== undefined && nowMs < this.#leaseEndsAtMs(portClosed.leaseEndsAtMs);
        if (isCounted) presences.push({ vanishedAtMs: portClosed.vanishedAtMs });
      } else if (state.type === 'suspect') {
        presences.push({ vanishedAtMs: state.vanishedAtMs });
      } else {
        const silentAtMs = this.#silentAtMs(state.leaseEndsAtMs);
        presences.push(nowMs >= silentAtMs ? { vanishedAtMs: silentAtMs } : PRESENT);
      }
    }
    return presences;
  }

  #silentAtMs(leaseEndsAtMs: number): number {
    return leaseEndsAtMs - this.leaseMs * SILENT_SHARE;
  }

  #becomeAlive(
    nowMs: number,
    session: number,
    edge: HelloEdge | EdgeRecord,
    counts: EdgeCounts | undefined,
  ): void {
    this.#probes.end(edge.id);
    const state = { type: 'alive', session, leaseEndsAtMs: nowMs + this.leaseMs } as const;
    this.#edges.set(edge.id, heardRecord(edge, state, counts, nowMs));
  }

  #becomeSuspect(nowMs: number, edge: Omit<EdgeRecord, 'state'>, leaseEndsAtMs: number): void {
    this.#partitionedEdges.forget(edge.id);
    const state = { type: 'suspect', vanishedAtMs: nowMs, leaseEndsAtMs } as const;
    if (!this.#edges.has(edge.id)) this.#ids = undefined;
    this.#onChange();
    this.#edges.set(edge.id, { ...edge, state });
  }

  /** @param portClosed set when its port is closed */
  #becomeDead(nowMs: number, edge: EdgeRecord, portClosed?: SuspectState): void {
    this.#probes.end(edge.id);
    const state = { type: 'dead', forgetAtMs: nowMs + DEAD_SHOWN_MS, portClosed } as const;
    this.#edges.set(edge.id, { ...edge, state, counts: undefined });
    this.#onChange();
    this.#changedAtMs ??= nowMs;
    this.#hasLost = true;
  }

  #ofSession(edgeId: string, session: number): AliveEdge | undefined {
    const record = this.#edges.get(edgeId);
    if (record === undefined || !isAlive(record)) return undefined;
    return record.state.session === session ? record : undefined;
  }

  #mayReplan(nowMs: number): boolean {
    if (this.#changedAtMs === undefined) return false;
    if (!this.#isRestored || nowMs < this.#joinDelay.endsAtMs) return false;
    if (this.#freeze.endsAtMs !== undefined) return false;
    if (!this.#hasLost && nowMs < this.#joinDelay.laterEndsAtMs) return false;
    const states = [...this.#edges.values()].map((record) => record.state.type);
    if (!states.includes('alive')) return false;
    if (this.#isUrgent) return true;
    return !states.includes('suspect') || nowMs >= this.#changedAtMs + this.leaseMs;
  }

  /** The next moment at which time may change something; work that is due waits for an event. */
  #nextDueAtMs(nowMs: number): number {
    let dueAtMs = Number.POSITIVE_INFINITY;
    const add = (timeMs: number) => {
      if (timeMs > nowMs && timeMs < dueAtMs) dueAtMs = timeMs;
    };
    for (const { state } of this.#edges.values()) {
      if (state.type === 'dead') {
        add(state.forgetAtMs);
        add(state.portClosed?.leaseEndsAtMs ?? nowMs);
      } else if (state.type === 'suspect') {
        add(this.#leaseEndsAtMs(state.leaseEndsAtMs));
      } else {
        add(this.#silentAtMs(state.leaseEndsAtMs));
        add(state.leaseEndsAtMs);
      }
    }
    if (this.#changedAtMs !== undefined) {
      add(this.#joinDelay.endsAtMs);
      add(this.#joinDelay.laterEndsAtMs);
      add(this.#changedAtMs + this.leaseMs);
    }
    add(this.#freeze.endsAtMs ?? this.#freeze.graceEndsAtMs);
    return dueAtMs;
  }
}

function idInUse(known: EdgeRecord, { id, incarnation }: HelloEdge): Rejection {
  const message = `edge ${id} is alive with incarnation ${known.incarnation}; incarnation ${incarnation} must use another id`;
  return rejection('EDGE_ID_IN_USE', message);
}
