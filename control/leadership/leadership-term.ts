/**
 * One term of leadership: tracks the edges, and writes the assignment that the planner makes of
 * their state. Redis operations run one at a time: a read, or a write by compare-and-set. After a
 * failure the assignment is read again, so nothing has to be undone.
 *
 * Invariants:
 * - An assignment is published only after Redis has stored it.
 * - Positions of published assignments only grow.
 * - A stored assignment that is invalid is never overwritten: another version may have written it.
 *   One that is corrupt is replaced by the one in memory, or by a new one, with a higher
 *   incarnation.
 */

import type { Counter } from 'prom-client';
import type { Assignment, EdgeIdentity } from '../../common/cluster/assignment.js';
import {
  NOTHING_STORED,
  readAssignment,
  type StoredAssignment,
  writeAssignment,
} from '../../common/cluster/assignment-store.js';
import { devicePortOf } from '../../common/cluster/edge-address.js';
import { isPortClosed } from '../../common/net/closed-port.js';
import { backoffMs } from '../../common/process/backoff.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { comparePositions, ORIGIN, type Position } from '../../common/wire/position.js';
import { type EdgeRecord, isAlive, isMember } from '../membership/edge-record.js';
import type { Membership } from '../membership/membership.js';
import { type EdgeReport, MembershipDriver } from '../membership/membership-driver.js';
import { Planner } from '../planning/planner.js';
import type { PlannerAction, PlannerEdge, PlannerEvent } from '../planning/planner-events.js';

/** Delay until the write of another control, or a loss of writes in Redis, is noticed. */
const READ_INTERVAL_MS = 1_000;
/** Subscribing takes a fraction of a second, but Redis may be failing over. */
const ACQUIRE_MS = 10_000;
/** Enough for a slow pace; clients that are left after it stay where they are, as guests. */
const HAND_OVER_MS = 120_000;
/** Pushes of a moving shard go to two edges, so at most this share of all shards moves at once. */
const MOVES_IN_FLIGHT_SHARE = 1 / 8;
const MOVES_IN_FLIGHT_MIN = 32;
/** One message per second to a client costs an edge about as much as ten idle connections. */
const MESSAGE_WEIGHT = 10;

/** Reason why the stored assignment cannot be read, used or written. */
export interface StoreProblem {
  readonly type: 'unavailable' | 'invalid';
  readonly reason: string;
}

export interface LeadershipTermCounters {
  readonly replans: Counter;
  readonly writeConflicts: Counter;
  readonly invalidReads: Counter;
  readonly probes: Counter<'result'>;
}

export function createTermCounters(metrics: Metrics): LeadershipTermCounters {
  return {
    replans: metrics.counter('longline_control_replans_total', 'Assignments planned and written'),
    writeConflicts: metrics.counter(
      'longline_control_write_conflicts_total',
      'Assignments not written because another control wrote first',
    ),
    invalidReads: metrics.counter(
      'longline_control_invalid_assignments_total',
      'Reads of a stored assignment that is invalid or corrupt',
    ),
    probes: metrics.counter(
      'longline_control_edge_probes_total',
      'Connects to device ports of edges whose session has broken, by result: closed (no process ' +
        'listens there) or other (which proves nothing)',
      ['result'],
    ),
  };
}

export interface LeadershipTermOptions {
  readonly link: Pick<RedisLink, 'commands' | 'names'>;
  readonly shardCount: number;
  readonly leaseMs: number;
  readonly log: Logger;
  readonly counters: LeadershipTermCounters;
  /** The newest assignment that this control knows, from before the term as well. */
  readonly lastKnown: () => Assignment | undefined;
  /** Called after each change of membership with all edges that it knows. */
  readonly onEdges: (edges: readonly EdgeRecord[]) => void;
  /** Called with each newer assignment after it is stored. `isOwn`: by this control. */
  readonly onAssignment: (assignment: Assignment, isOwn: boolean) => void;
  /** Called after every read and failed write; undefined: there is no problem any more. */
  readonly onStoreProblem: (problem: StoreProblem | undefined) => void;
}

export function movesInFlightMax(shardCount: number): number {
  return Math.max(MOVES_IN_FLIGHT_MIN, Math.round(shardCount * MOVES_IN_FLIGHT_SHARE));
}

export class LeadershipTerm {
  readonly membership: MembershipDriver;
  readonly planner: Planner;
  readonly #options: LeadershipTermOptions;
  #published: Position = ORIGIN;
  #plannerProblem: string | undefined;
  /** The stored assignment that the planner knows; undefined: none, or it is corrupt. */
  #stored: StoredAssignment | undefined;
  /** Digest of what is stored, as far as the planner knows. */
  #storedDigest = NOTHING_STORED;
  /** Number of writes, by which a read notices that a write has overtaken it. */
  #writes = 0;
  #isWriting = false;
  #isRestored = false;
  /** Set while a change has not been passed on. */
  #changedMembership: Membership | undefined;
  /** Consecutive reads and writes that failed. */
  #failures = 0;
  #isClosed = false;
  #readTimer: NodeJS.Timeout | undefined;
  /** Time for which the wake timer is set; Infinity: it is not. */
  #wakeAtMs = Number.POSITIVE_INFINITY;
  #wakeTimer: NodeJS.Timeout | undefined;

  constructor(options: LeadershipTermOptions) {
    this.#options = options;
    const { shardCount, leaseMs } = options;
    this.planner = new Planner({
      shardCount,
      movesInFlightMax: movesInFlightMax(shardCount),
      messageWeight: MESSAGE_WEIGHT,
      acquireMs: ACQUIRE_MS,
      handOverMs: HAND_OVER_MS,
    });
    this.membership = new MembershipDriver(leaseMs, {
      onChange: (membership) => this.#onMembershipChange(membership),
      onReplan: () => {
        this.#passEdges();
        this.handle({ type: 'replan' });
      },
      onDrain: (edgeId) => this.handle({ type: 'intent', edgeId, intent: 'draining' }),
      onReport: (report) => this.#onReport(report),
      probe: (edge) => this.#probe(edge),
    });
    void this.#read();
  }

  /** Passes `event`, or the passing of time, to the planner and performs its actions. */
  handle(event: PlannerEvent | null): void {
    if (this.#isClosed) return;
    const { actions, wakeAtMs } = this.planner.step(performance.now(), event);
    this.#wakeAt(wakeAtMs);
    this.#publish(event?.type === 'written');
    this.#logPlannerProblem();
    for (const action of actions) void this.#write(action);
  }

  #wakeAt(wakeAtMs: number): void {
    // Most reports leave it as it is.
    if (wakeAtMs === this.#wakeAtMs) return;
    this.#wakeAtMs = wakeAtMs;
    clearTimeout(this.#wakeTimer);
    if (wakeAtMs === Number.POSITIVE_INFINITY) return;
    const afterMs = Math.max(1, Math.ceil(wakeAtMs - performance.now()));
    this.#wakeTimer = setTimeout(() => {
      this.#wakeAtMs = Number.POSITIVE_INFINITY;
      this.handle(null);
    }, afterMs);
  }

  /** Ends the term. A pending write may still be stored, like a write of any other control. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#readTimer);
    clearTimeout(this.#wakeTimer);
  }

  /** Many edges may connect or vanish in one turn: what depends on all of them is done once. */
  #onMembershipChange(membership: Membership): void {
    if (this.#changedMembership === undefined) setImmediate(() => this.#passEdges());
    this.#changedMembership = membership;
  }

  #passEdges(): void {
    const membership = this.#changedMembership;
    this.#changedMembership = undefined;
    if (membership === undefined || this.#isClosed) return;
    const { edges } = membership;
    this.#options.onEdges(edges);
    this.handle({
      type: 'edges',
      edges: edges.map((record) => toPlannerEdge(record, membership.partitionedEdges)),
      newestSeen: membership.newestSeen,
      isFrozen: membership.frozenUntilMs !== undefined,
    });
  }

  #onReport({ moves, loads }: EdgeReport): void {
    this.handle({ type: 'report', moves, loads });
  }

  async #probe(edge: EdgeIdentity): Promise<boolean> {
    const isClosed = await isPortClosed(devicePortOf(edge));
    this.#options.counters.probes.inc({ result: isClosed ? 'closed' : 'other' });
    return isClosed;
  }

  async #read(): Promise<void> {
    const writes = this.#writes;
    const { link, shardCount } = this.#options;
    const result = await readAssignment(link, shardCount, this.#stored);
    if (this.#isClosed) return;
    this.#scheduleRead(result.type !== 'unavailable' && result.type !== 'invalid');
    if (result.type === 'unavailable' || result.type === 'invalid') {
      if (result.type === 'invalid') this.#options.counters.invalidReads.inc();
      this.#options.onStoreProblem(result);
      // The planner must not write over an assignment that it could not read.
      if (!this.#isWriting) this.handle({ type: 'write-failed' });
      return;
    }
    if (result.type === 'corrupt') {
      this.#options.counters.invalidReads.inc();
      this.#options.onStoreProblem({ type: 'invalid', reason: result.reason });
    } else {
      this.#options.onStoreProblem(undefined);
    }
    // A read that a write has overtaken would look as if Redis had lost the write.
    if (this.#isWriting || this.#writes !== writes) return;
    this.#stored = result.type === 'assignment' ? result : undefined;
    const stored = this.#stored?.assignment;
    // A corrupt assignment is replaced, as if Redis had lost it.
    this.#storedDigest = result.type === 'none' ? NOTHING_STORED : result.digest;
    const known = result.type === 'corrupt' ? this.#options.lastKnown() : stored;
    if (!this.#isRestored) {
      this.#isRestored = true;
      this.membership.restore(known?.edges ?? []);
    }
    // A new term starts from what this control has followed.
    if (known !== stored) this.handle({ type: 'read', assignment: known });
    this.handle({ type: 'read', assignment: stored });
  }

  #scheduleRead(hasSucceeded: boolean): void {
    this.#failures = hasSucceeded ? 0 : this.#failures + 1;
    clearTimeout(this.#readTimer);
    const afterMs = hasSucceeded ? READ_INTERVAL_MS : backoffMs(this.#failures);
    this.#readTimer = setTimeout(() => void this.#read(), afterMs);
  }

  async #write({ next, on }: PlannerAction): Promise<void> {
    this.#isWriting = true;
    this.#writes++;
    const result = await writeAssignment(this.#options.link, next, this.#storedDigest);
    this.#isWriting = false;
    if (this.#isClosed) return;
    if (result.type === 'committed') {
      this.#storedDigest = result.digest;
      this.#stored = { assignment: next, digest: result.digest };
      this.#options.onStoreProblem(undefined);
      this.#options.counters.replans.inc();
      this.handle({ type: 'written' });
      return;
    }
    if (result.type === 'unavailable') this.#options.onStoreProblem(result);
    this.handle({ type: 'write-failed' });
    clearTimeout(this.#readTimer);
    if (result.type === 'conflict') {
      this.#options.counters.writeConflicts.inc();
      this.#options.log.info({ on }, 'another control wrote the assignment first, reading it');
      void this.#read();
    } else {
      this.#scheduleRead(false);
    }
  }

  #publish(isOwn: boolean): void {
    const { current } = this.planner;
    if (current === undefined || comparePositions(current.position, this.#published) <= 0) return;
    this.#published = current.position;
    this.#options.onAssignment(current, isOwn);
  }

  #logPlannerProblem(): void {
    const { problem } = this.planner;
    if (problem === this.#plannerProblem) return;
    this.#plannerProblem = problem;
    if (problem === undefined) return;
    this.#options.log.error({ problem }, 'the planner discarded an invalid change: a bug');
  }
}

function toPlannerEdge(record: EdgeRecord, partitioned: ReadonlySet<string>): PlannerEdge {
  const { id, incarnation, advertisedUrl, frontAddress, capacity, zone } = record;
  return {
    id,
    incarnation,
    advertisedUrl,
    frontAddress,
    capacity,
    zone,
    isMember: isMember(record),
    isAlive: isAlive(record),
    isPartitioned: partitioned.has(id),
  };
}
