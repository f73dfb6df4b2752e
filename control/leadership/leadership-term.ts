/**
 * What a control does while it leads: it hears the edges, and keeps the stored table what the planner
 * makes of that. One thing after the other goes to Redis: a read, or a write by compare-and-set.
 * Whatever fails is read again, so nothing has to be undone.
 *
 * Invariants: an assignment is published only after Redis has it; positions that are published only
 * grow; a stored table that cannot be understood is never overwritten.
 */
import type { Counter } from 'prom-client';
import {
  type Assignment,
  comparePositions,
  ORIGIN,
  type Position,
} from '../../common/cluster/assignment.js';
import { readAssignment, writeAssignment } from '../../common/cluster/assignment-store.js';
import { backoffMs } from '../../common/process/backoff.js';
import type { Logger } from '../../common/process/log.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { type EdgeReport, Members, nowMs } from '../membership/membership-driver.js';
import { isMember, type Membership } from '../membership/membership.js';
import { Planner, type PlannerAction, type PlannerEvent } from '../planning/planner.js';

/** How soon the write of another control is noticed, and that Redis has lost ours. */
const READ_INTERVAL_MS = 1_000;
/** B subscribes and proves it in a fraction of a second; Redis may be failing over. */
const ACQUIRE_MS = 10_000;
/** At a careful pace; past it the clients that are left stay where they are, as guests. */
const HAND_OVER_MS = 120_000;
/** The traffic of a moving shard goes to two edges: an eighth of all, and never fewer than these. */
const MOVES_IN_FLIGHT_SHARE = 1 / 8;
const MOVES_IN_FLIGHT_MIN = 32;
/** A message a second to a client costs an edge as much as some ten idle connections do. */
const MESSAGE_WEIGHT = 10;

/** Why the stored assignment cannot be read, used or written. */
export interface StoreProblem {
  readonly type: 'unavailable' | 'garbage';
  readonly reason: string;
}

export interface LeadershipTermCounters {
  readonly replans: Counter;
  readonly casLost: Counter;
  readonly garbageReads: Counter;
}

export interface LeadershipTermOptions {
  readonly link: Pick<RedisLink, 'commands'>;
  readonly shardCount: number;
  readonly leaseMs: number;
  readonly log: Logger;
  readonly counters: LeadershipTermCounters;
  /** Hears each newer assignment, once it is stored. */
  readonly onAssignment: (assignment: Assignment) => void;
  /** Hears of trouble, and with undefined when it is over. */
  readonly onStoreProblem: (trouble: StoreProblem | undefined) => void;
}

export function movesInFlightMax(shardCount: number): number {
  return Math.max(MOVES_IN_FLIGHT_MIN, Math.round(shardCount * MOVES_IN_FLIGHT_SHARE));
}

export class LeadershipTerm {
  readonly members: Members;
  readonly planner: Planner;
  readonly #options: LeadershipTermOptions;
  #published: Position = ORIGIN;
  #problem: string | undefined;
  /** Counted, so that a read knows whether a write has overtaken it. */
  #writes = 0;
  #isWriting = false;
  #isRestored = false;
  /** Reads and writes that failed since one succeeded. */
  #failures = 0;
  #isClosed = false;
  #readTimer: NodeJS.Timeout | undefined;
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
    this.members = new Members(leaseMs, {
      onStep: (membership) => this.#onMembers(membership),
      onReplan: () => this.tell({ type: 'replan' }),
      onDrain: (edgeId) => this.tell({ type: 'intent', edgeId, intent: 'draining' }),
      onReport: (report) => this.#onReport(report),
    });
    void this.#read();
  }

  /** Does at once what of `event` can be done without Redis. */
  tell(event: PlannerEvent | null): void {
    if (this.#isClosed) return;
    const { actions, wakeAtMs } = this.planner.step(nowMs(), event);
    clearTimeout(this.#wakeTimer);
    if (wakeAtMs !== Number.POSITIVE_INFINITY) {
      const afterMs = Math.max(1, Math.ceil(wakeAtMs - nowMs()));
      this.#wakeTimer = setTimeout(() => this.tell(null), afterMs);
    }
    this.#publish();
    this.#alarm();
    for (const action of actions) void this.#write(action);
  }

  /** What is on its way to Redis may still arrive: it is one more table, like any other's. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#readTimer);
    clearTimeout(this.#wakeTimer);
  }

  #onMembers(membership: Membership): void {
    this.tell({
      type: 'edges',
      edges: membership.edges.map((record) => ({
        ...record,
        isMember: isMember(record),
        isAlive: record.state.type === 'alive',
        isPartitioned: membership.partitionedEdges.has(record.id),
      })),
      newestSeen: membership.newestSeen,
      isFrozen: membership.frozenUntilMs !== undefined,
    });
  }

  #onReport({ moves, loads }: EdgeReport): void {
    this.tell({ type: 'report', moves, loads });
  }

  async #read(): Promise<void> {
    const writes = this.#writes;
    const { link, shardCount } = this.#options;
    const result = await readAssignment(link.commands, shardCount);
    if (this.#isClosed) return;
    this.#readLater(result.type === 'none' || result.type === 'assignment');
    if (result.type === 'unavailable' || result.type === 'garbage') {
      if (result.type === 'garbage') this.#options.counters.garbageReads.inc();
      this.#options.onStoreProblem(result);
      // Nothing is written over what is not understood.
      if (!this.#isWriting) this.tell({ type: 'write-failed' });
      return;
    }
    this.#options.onStoreProblem(undefined);
    // A read that a write has overtaken would look like a Redis that has lost it.
    if (this.#isWriting || this.#writes !== writes) return;
    const stored = result.type === 'assignment' ? result.assignment : undefined;
    if (!this.#isRestored) {
      this.#isRestored = true;
      this.members.restore(stored?.edges ?? []);
    }
    this.tell({ type: 'read', assignment: stored });
  }

  #readLater(isFine: boolean): void {
    this.#failures = isFine ? 0 : this.#failures + 1;
    clearTimeout(this.#readTimer);
    const afterMs = isFine ? READ_INTERVAL_MS : backoffMs(this.#failures);
    this.#readTimer = setTimeout(() => void this.#read(), afterMs);
  }

  async #write({ next, on }: PlannerAction): Promise<void> {
    this.#isWriting = true;
    this.#writes++;
    const result = await writeAssignment(this.#options.link.commands, next, on);
    this.#isWriting = false;
    if (this.#isClosed) return;
    if (result.type === 'committed') {
      this.#options.onStoreProblem(undefined);
      this.#options.counters.replans.inc();
      this.tell({ type: 'written' });
      return;
    }
    if (result.type === 'unavailable') this.#options.onStoreProblem(result);
    this.tell({ type: 'write-failed' });
    clearTimeout(this.#readTimer);
    if (result.type === 'lost') {
      this.#options.counters.casLost.inc();
      this.#options.log.info({ on }, 'another control was faster, reading again');
      void this.#read();
    } else {
      this.#readLater(false);
    }
  }

  #publish(): void {
    const { current } = this.planner;
    if (current === undefined || comparePositions(current.position, this.#published) <= 0) return;
    this.#published = current.position;
    this.#options.onAssignment(current);
  }

  /** The planner has rejected to do something that made no sense. */
  #alarm(): void {
    const { problem } = this.planner;
    if (problem === this.#problem) return;
    this.#problem = problem;
    if (problem !== undefined) this.#options.log.error({ problem }, 'a plan made no sense: a bug');
  }
}
