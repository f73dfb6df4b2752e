/**
 * Membership: which edges there are, and when a change among them is to become a new assignment.
 * A pure machine; `members.ts` drives it.
 *
 * The hard thing is to act on knowledge and not on ignorance. A broken stream may be a dead edge or
 * a dropped packet, and this control may have started a second ago and simply not have been found
 * yet. So an edge that is not heard gets one lease before its shards are given away, and nothing is
 * decided while there is still hope: not before it is known what was assigned before, not while an
 * edge is in doubt (unless that takes longer than a lease), not while no edge at all is heard, and
 * not while most have vanished at once (`freeze.ts`). An edge that is heard but says that it is not
 * ready is another matter (`cut-off.ts`): it stays a member, and is only to have no shards.
 *
 * Invariants: one record per id; a session belongs to at most one record; an event of a session
 * that is not the record's own changes nothing; `replan` comes at most once per change.
 */
import {
  comparePositions,
  type EdgeIdentity,
  ORIGIN,
  type Position,
} from '../../common/cluster/assignment.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { assertNever, type Machine, type Output } from '../../common/process/state-machine.js';
import type { MemoryPart } from '../../proto/gen/longline/v1/edge_session.js';
import { Freeze, type Presence } from './freeze.js';
import { PartitionedEdges } from './partitioned-edges.js';

export type EdgeState =
  /** Entered by a hello. `session` is open; every report renews the lease. */
  | { readonly type: 'alive'; readonly session: number; readonly leaseEndsAtMs: number }
  /**
   * Entered when the session breaks, and by an edge of the stored assignment that has not been
   * heard since this control started. Ends with a hello, or with the lease unless membership is
   * frozen.
   */
  | { readonly type: 'suspect'; readonly vanishedAtMs: number; readonly leaseEndsAtMs: number }
  /** Entered when the lease ran out. The edge is no member. Ends with a hello; forgotten later. */
  | { readonly type: 'dead'; readonly forgetAtMs: number };

/** What an edge reports. */
export interface EdgeCounts {
  readonly connections: number;
  readonly guests: number;
  readonly shardsSubscribed: number;
  readonly ready: boolean;
  readonly memory?: readonly MemoryPart[];
  /** Clients that it is to tell to go, when it is told how fast. */
  readonly goawaysPending?: number;
  readonly handshakesPending?: number;
  readonly eventLoopLagMs?: number;
  readonly memoryHeadroom?: number;
  readonly leaving?: boolean;
  /** Connections per shard, only shards with at least one. */
  readonly shards: readonly { readonly shard: number; readonly connections: number }[];
}

export interface HelloEdge extends EdgeIdentity {
  readonly capacity: number;
  /** Empty: none. */
  readonly zone: string;
}

export interface EdgeRecord extends EdgeIdentity {
  readonly state: EdgeState;
  /** Undefined until the edge says hello to this control: the assignment does not tell it. */
  readonly capacity: number | undefined;
  readonly zone: string;
  /** Undefined: unknown, which is not zero. */
  readonly counts: EdgeCounts | undefined;
  /** When it was last heard. */
  readonly heardAtMs: number | undefined;
}

export type MembershipEvent =
  /** Comes once: what was assigned before this control started; empty if nothing was. */
  | { readonly type: 'restored'; readonly edges: readonly EdgeIdentity[] }
  /** `have`: the newest assignment that the edge knows. */
  | {
      readonly type: 'hello';
      readonly session: number;
      readonly edge: HelloEdge;
      readonly have: Position;
    }
  /** `counts` is undefined when the edge reported nonsense: it lives, but its load is unknown. */
  | {
      readonly type: 'report';
      readonly edgeId: string;
      readonly session: number;
      readonly counts: EdgeCounts | undefined;
    }
  | { readonly type: 'broken'; readonly edgeId: string; readonly session: number }
  /** The process of the edge has been told to end. It may say so as often as it likes. */
  | { readonly type: 'leaving'; readonly edgeId: string; readonly session: number }
  /** An operator knows that the edges that have vanished are gone. */
  | { readonly type: 'confirm-lost-edges' };

export type MembershipAction =
  /** End the session: it was not let in, was replaced, or its lease ran out. */
  | { readonly type: 'end'; readonly session: number; readonly why: Rejection }
  /** The members have changed and it is time for a new assignment. */
  | { readonly type: 'replan' }
  /** The edge wants to be drained. */
  | { readonly type: 'drain'; readonly edgeId: string };

/**
 * Edges that start together get one first assignment together: whoever comes later gets its share by
 * moves, which take a minute. So it waits for more after each that comes, but not for ever.
 */
const SETTLE_MS = 2_000;
const SETTLE_MS_MAX = 8_000;
/**
 * What of its lease is left when an edge that does not report counts as vanished. Edges report every
 * 2 s at different moments: with a lease of 8 s or more, all that fall silent at once are missed
 * before the first of them is dead.
 */
const SILENT_SHARE = 0.25;
/** How long an operator can still see an edge that is gone; edges with ever new ids must not pile up. */
const DEAD_SHOWN_MS = 15 * 60_000;

export class Membership implements Machine<MembershipEvent, MembershipAction> {
  readonly #edges = new Map<string, EdgeRecord>();
  /** When the oldest change happened that no `replan` has answered yet. */
  #changedAtMs: number | undefined;
  #isRestored = false;
  /** Infinity until the first hello. */
  #settledAtMs = Number.POSITIVE_INFINITY;
  #firstHelloAtMs: number | undefined;
  #newestSeen = ORIGIN;
  readonly #freeze: Freeze;
  readonly #partitionedEdges: PartitionedEdges;
  #partitionedIds: ReadonlySet<string> = new Set();

  constructor(readonly leaseMs: number) {
    this.#freeze = new Freeze(leaseMs);
    this.#partitionedEdges = new PartitionedEdges(leaseMs);
  }

  /** While most edges have vanished at once: when that will be believed. Nothing is decided then. */
  get frozenUntilMs(): number | undefined {
    return this.#freeze.endsAtMs;
  }

  /** All that are known, dead ones included, by id. */
  get edges(): readonly EdgeRecord[] {
    return [...this.#edges.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Ids of edges that are alive and cannot deliver: they are to have no shards. */
  get partitionedEdges(): ReadonlySet<string> {
    return this.#partitionedIds;
  }

  /** The newest assignment that any edge has said to know. */
  get newestSeen(): Position {
    return this.#newestSeen;
  }

  /** The event comes first: a late report of an open session is better news than a late timer. */
  step(nowMs: number, event: MembershipEvent | null): Output<MembershipAction> {
    const actions: MembershipAction[] = [];
    if (event !== null) this.#take(nowMs, event, actions);
    this.#silence(nowMs, actions);
    this.#freeze.judge(nowMs, this.#presences(nowMs));
    this.#expire(nowMs);
    this.#partitionedIds = this.#partitionedEdges.judge(
      nowMs,
      [...this.#edges.values()].filter(isMember).length,
    );
    if (this.#mayReplan(nowMs)) {
      this.#changedAtMs = undefined;
      actions.push({ type: 'replan' });
    }
    return { actions, wakeAtMs: this.#wakeAtMs(nowMs) };
  }

  #take(nowMs: number, event: MembershipEvent, actions: MembershipAction[]): void {
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
      case 'broken': {
        const record = this.#ofSession(event.edgeId, event.session);
        if (record !== undefined) this.#becomeSuspect(nowMs, record, record.state.leaseEndsAtMs);
        break;
      }
      case 'leaving': {
        const record = this.#ofSession(event.edgeId, event.session);
        if (record !== undefined) actions.push({ type: 'drain', edgeId: record.id });
        break;
      }
      case 'confirm-lost-edges':
        if (this.#freeze.endsAtMs !== undefined) this.#onLostEdgesConfirmed(nowMs);
        break;
      default:
        assertNever(event);
    }
  }

  #onRestored(nowMs: number, edges: readonly EdgeIdentity[]): void {
    this.#isRestored = true;
    // The edges that came before still have to wait for those that were restored only now.
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
    record: EdgeRecord,
    counts: EdgeCounts | undefined,
  ): void {
    // One that is leaving is not ready, either, and is drained anyway.
    const isReady = counts === undefined || counts.ready || counts.leaving === true;
    this.#partitionedEdges.hear(nowMs, record.id, isReady);
    this.#becomeAlive(nowMs, session, record, counts);
  }

  #onLostEdgesConfirmed(nowMs: number): void {
    this.#freeze.confirmLostEdges(nowMs);
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
    if (known?.state.type === 'alive') {
      if (!isSameProcess) {
        const why = `edge ${edge.id} is alive with incarnation ${known.incarnation}, another came with ${edge.incarnation}`;
        actions.push({ type: 'end', session, why: rejection('EDGE_ID_IN_USE', why) });
        return;
      }
      const why = rejection('EDGE_ID_IN_USE', `edge ${edge.id} has opened a newer session`);
      actions.push({ type: 'end', session: known.state.session, why });
    }
    if (comparePositions(have, this.#newestSeen) > 0) this.#newestSeen = have;
    this.#firstHelloAtMs ??= nowMs;
    if (nowMs < this.#settledAtMs) {
      this.#settledAtMs = Math.min(nowMs + SETTLE_MS, this.#firstHelloAtMs + SETTLE_MS_MAX);
    }
    const isUnchanged =
      known !== undefined &&
      known.state.type !== 'dead' &&
      isSameProcess &&
      known.advertisedUrl === edge.advertisedUrl &&
      known.frontAddress === edge.frontAddress &&
      known.capacity === edge.capacity;
    if (!isUnchanged) this.#changedAtMs ??= nowMs;
    if (!isSameProcess) this.#partitionedEdges.forget(edge.id);
    this.#becomeAlive(nowMs, session, edge, isSameProcess ? known?.counts : undefined);
  }

  /** An edge whose stream is fine but that does not report is in doubt like any other. */
  #silence(nowMs: number, actions: MembershipAction[]): void {
    for (const record of this.#edges.values()) {
      if (!isAlive(record) || record.state.leaseEndsAtMs > nowMs) continue;
      const why = `edge ${record.id} has not reported for ${this.leaseMs} ms`;
      actions.push({
        type: 'end',
        session: record.state.session,
        why: rejection('NOT_READY', why),
      });
      this.#becomeSuspect(nowMs, record, record.state.leaseEndsAtMs);
    }
  }

  #expire(nowMs: number): void {
    for (const record of this.#edges.values()) {
      const { state } = record;
      if (state.type === 'dead' && state.forgetAtMs <= nowMs) this.#edges.delete(record.id);
      if (state.type === 'suspect' && this.#leaseEndsAtMs(state.leaseEndsAtMs) <= nowMs) {
        this.#becomeDead(nowMs, record);
      }
    }
  }

  /** Of an edge in doubt: no lease ends in a freeze, nor soon after one. */
  #leaseEndsAtMs(leaseEndsAtMs: number): number {
    return this.#freeze.endsAtMs ?? Math.max(leaseEndsAtMs, this.#freeze.patienceEndsAtMs);
  }

  /** Edges that fall silent without a broken stream are dead one by one: they are missed before. */
  #presences(nowMs: number): Presence[] {
    return [...this.#edges.values()].flatMap(({ state }) => {
      if (state.type === 'dead') return [];
      if (state.type === 'suspect') return [{ vanishedAtMs: state.vanishedAtMs }];
      const silentAtMs = this.#silentAtMs(state.leaseEndsAtMs);
      return [{ vanishedAtMs: nowMs >= silentAtMs ? silentAtMs : undefined }];
    });
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
    const state = { type: 'alive', session, leaseEndsAtMs: nowMs + this.leaseMs } as const;
    this.#edges.set(edge.id, { ...edge, state, counts, heardAtMs: nowMs });
  }

  #becomeSuspect(nowMs: number, edge: Omit<EdgeRecord, 'state'>, leaseEndsAtMs: number): void {
    this.#partitionedEdges.forget(edge.id);
    const state = { type: 'suspect', vanishedAtMs: nowMs, leaseEndsAtMs } as const;
    this.#edges.set(edge.id, { ...edge, state });
  }

  #becomeDead(nowMs: number, edge: EdgeRecord): void {
    const state = { type: 'dead', forgetAtMs: nowMs + DEAD_SHOWN_MS } as const;
    this.#edges.set(edge.id, { ...edge, state, counts: undefined });
    this.#changedAtMs ??= nowMs;
  }

  #ofSession(
    edgeId: string,
    session: number,
  ): (EdgeRecord & { state: { type: 'alive' } }) | undefined {
    const record = this.#edges.get(edgeId);
    return record !== undefined && isAlive(record) && record.state.session === session
      ? record
      : undefined;
  }

  #mayReplan(nowMs: number): boolean {
    if (this.#changedAtMs === undefined) return false;
    if (!this.#isRestored || nowMs < this.#settledAtMs) return false;
    if (this.#freeze.endsAtMs !== undefined) return false;
    const states = [...this.#edges.values()].map((record) => record.state.type);
    if (!states.includes('alive')) return false;
    return !states.includes('suspect') || nowMs >= this.#changedAtMs + this.leaseMs;
  }

  #wakeAtMs(nowMs: number): number {
    const times = [...this.#edges.values()].flatMap(({ state }) => {
      if (state.type === 'dead') return [state.forgetAtMs];
      return state.type === 'alive'
        ? [this.#silentAtMs(state.leaseEndsAtMs), state.leaseEndsAtMs]
        : [this.#leaseEndsAtMs(state.leaseEndsAtMs)];
    });
    if (this.#changedAtMs !== undefined) {
      times.push(this.#settledAtMs, this.#changedAtMs + this.leaseMs);
    }
    // What is due already waits for an event, not for time.
    return Math.min(Number.POSITIVE_INFINITY, ...times.filter((time) => time > nowMs));
  }
}

function isAlive(record: EdgeRecord): record is EdgeRecord & { state: { type: 'alive' } } {
  return record.state.type === 'alive';
}

/** A member owns shards: it is alive, or suspect and within its lease. */
export function isMember(record: EdgeRecord): boolean {
  return record.state.type !== 'dead';
}
