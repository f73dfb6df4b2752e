/** A control in the model: the real machines with a minimal driver. */

import type { Assignment } from '../../common/cluster/assignment.js';
import { ORIGIN, type Position } from '../../common/wire/position.js';
import { type EdgeCounts, isAlive, isMember } from '../../control/membership/edge-record.js';
import { Membership, type MembershipEvent } from '../../control/membership/membership.js';
import { findReportProblem, type LoadReport } from '../../control/placement/load-report.js';
import type { MoveReport } from '../../control/planning/moves.js';
import { Planner } from '../../control/planning/planner.js';
import type { PlannerEvent, PlannerOptions } from '../../control/planning/planner-events.js';
import type { Store, VirtualClock } from './model.js';
import { VanishedEdges } from './vanished-edges.js';

export const LEASE_MS = 10_000;

/** Network of a control, with faults that are drawn for each call. */
export interface SimNetwork {
  /** Duration of the call in milliseconds. */
  readonly redisMs: () => number;
  /** Whether the reply to a write is lost. */
  readonly losesReply: () => boolean;
  /** Duration of a connect to an edge's port in milliseconds. */
  readonly connectMs: () => number;
  /** Whether the port is closed from control. */
  readonly isClosed: (edgeId: string) => boolean;
  readonly endSession: (session: number) => void;
}

export class SimControl {
  readonly membership = new Membership(LEASE_MS);
  readonly planner: Planner;
  /** The process is suspended until then; all input waits. */
  stalledUntilMs = 0;
  isStopped = false;
  #isRestored = false;
  /** Version of the membership that the planner knows. */
  #version = 0;
  readonly #vanished = new VanishedEdges(LEASE_MS);
  /** The stored assignment that the planner knows. */
  #stored: Assignment | undefined;
  #isWriting = false;
  #writes = 0;
  readonly #wakes = { membership: Number.POSITIVE_INFINITY, planner: Number.POSITIVE_INFINITY };

  constructor(
    readonly clock: VirtualClock,
    readonly store: Store,
    readonly network: SimNetwork,
    readonly options: PlannerOptions,
    readonly addViolation: (violation: string) => void,
  ) {
    this.planner = new Planner(options);
    this.#poll();
  }

  get #nowMs(): number {
    return this.clock.nowMs;
  }

  /** Runs `task` now, or when the process is no longer suspended. */
  #run(task: () => void): void {
    if (this.isStopped) return;
    const waitMs = this.stalledUntilMs - this.#nowMs;
    if (waitMs <= 0) task();
    else this.clock.in(waitMs, () => this.#run(task));
  }

  onMembershipEvent(event: MembershipEvent | null): void {
    this.#run(() => this.#stepMembership(event));
  }

  onStats(
    edgeId: string,
    session: number,
    moves: MoveReport,
    loads: LoadReport,
    counts: EdgeCounts,
    capacity: number,
  ): void {
    this.#run(() => {
      const isPlausible = findReportProblem(loads, this.options.shardCount, capacity) === undefined;
      this.#stepMembership({ type: 'report', edgeId, session, counts });
      if (!this.membership.hasSession(edgeId, session)) return;
      this.handle({ type: 'report', moves, loads: isPlausible ? loads : undefined });
    });
  }

  handle(event: PlannerEvent): void {
    this.#run(() => this.#stepPlanner(event));
  }

  #stepMembership(event: MembershipEvent | null): void {
    this.#vanished.onEvent(this.#nowMs, event, this.membership);
    const { actions, wakeAtMs } = this.membership.step(this.#nowMs, event);
    const violation = this.#vanished.findViolation(this.#nowMs, this.membership);
    if (violation !== undefined) this.addViolation(violation);
    this.#wake('membership', wakeAtMs, () => this.onMembershipEvent(null));
    if (this.membership.version !== this.#version) this.#passEdges();
    for (const action of actions) {
      if (action.type === 'replan') this.#stepPlanner({ type: 'replan' });
      if (action.type === 'end') this.network.endSession(action.session);
      if (action.type === 'probe') this.#probe(action);
      if (action.type === 'drain') {
        this.#stepPlanner({ type: 'intent', edgeId: action.edgeId, intent: 'draining' });
      }
    }
  }

  #passEdges(): void {
    this.#version = this.membership.version;
    this.#stepPlanner({
      type: 'edges',
      edges: this.membership.edges.map((record) => ({
        ...record,
        zone: '',
        isMember: isMember(record),
        isAlive: isAlive(record),
        isPartitioned: this.membership.partitionedEdges.has(record.id),
      })),
      newestSeen: this.membership.newestSeen,
      isFrozen: this.membership.frozenUntilMs !== undefined,
    });
  }

  #probe({ edgeId, probe }: { edgeId: string; probe: number }): void {
    this.clock.in(this.network.connectMs(), () => {
      const isClosed = this.network.isClosed(edgeId);
      this.onMembershipEvent({ type: 'probed', edgeId, probe, isClosed });
    });
  }

  #stepPlanner(event: PlannerEvent | null): void {
    const { actions, wakeAtMs } = this.planner.step(this.#nowMs, event);
    this.#wake('planner', wakeAtMs, () => this.#run(() => this.#stepPlanner(null)));
    for (const { next } of actions) this.#write(next);
  }

  #wake(machine: 'membership' | 'planner', atMs: number, run: () => void): void {
    this.#wakes[machine] = atMs;
    if (atMs === Number.POSITIVE_INFINITY) return;
    this.clock.in(atMs - this.#nowMs, () => {
      // A later step has set another timer.
      if (this.#wakes[machine] === atMs) run();
    });
  }

  #write(next: Assignment): void {
    this.#isWriting = true;
    this.#writes++;
    const expected = this.#stored;
    this.clock.in(this.network.redisMs(), () => {
      const isCommitted = this.store.write(next, expected);
      const isReplied = !this.network.losesReply();
      const assignment = this.store.assignment;
      this.clock.in(this.network.redisMs(), () =>
        this.#run(() => {
          this.#isWriting = false;
          if (isReplied) this.#stored = isCommitted ? next : assignment;
          if (!isReplied) this.#stepPlanner({ type: 'write-failed' });
          else if (isCommitted) this.#stepPlanner({ type: 'written' });
          else this.#stepPlanner({ type: 'read', assignment });
        }),
      );
    });
  }

  /** Reads once per second, unless a write is pending: operations run one at a time. */
  #poll(): void {
    if (this.isStopped) return;
    this.clock.in(1_000, () => this.#poll());
    this.#run(() => {
      if (this.#isWriting) return;
      const writes = this.#writes;
      this.clock.in(this.network.redisMs(), () => {
        const assignment = this.store.assignment;
        this.#run(() => {
          // A read that a write has overtaken would look as if Redis had lost the write.
          if (this.#writes !== writes) return;
          this.#stored = assignment;
          if (!this.#isRestored) {
            this.#isRestored = true;
            this.#stepMembership({ type: 'restored', edges: assignment?.edges ?? [] });
          }
          this.#stepPlanner({ type: 'read', assignment });
        });
      });
    });
  }

  get position(): Position {
    return this.planner.current?.position ?? ORIGIN;
  }
}
