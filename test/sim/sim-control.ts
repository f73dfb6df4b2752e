/** A control in the model: the real machines, and a driver as simple as can be. */
import { type Assignment, ORIGIN, type Position } from '../../common/cluster/assignment.js';
import {
  type EdgeCounts,
  isMember,
  Membership,
  type MembershipEvent,
} from '../../control/membership/membership.js';
import { findReportProblem, type LoadReport } from '../../control/placement/loads.js';
import type { MoveReport } from '../../control/planning/moves.js';
import { Planner, type PlannerEvent, type PlannerOptions } from '../../control/planning/planner.js';
import type { Agenda, Store } from './model.js';

export const LEASE_MS = 10_000;

export interface Weather {
  /** How long a call to Redis takes. */
  readonly redisMs: () => number;
  /** Whether the answer of a write does not arrive. */
  readonly losesAnswer: () => boolean;
}

export class SimControl {
  readonly membership = new Membership(LEASE_MS);
  readonly planner: Planner;
  /** It is stopped until then: whatever comes, waits. */
  stalledUntilMs = 0;
  isGone = false;
  #isRestored = false;
  #isBusy = false;
  #writes = 0;
  readonly #wakes = { membership: Number.POSITIVE_INFINITY, planner: Number.POSITIVE_INFINITY };

  constructor(
    readonly agenda: Agenda,
    readonly store: Store,
    readonly weather: Weather,
    readonly options: PlannerOptions,
    readonly endSession: (session: number) => void,
  ) {
    this.planner = new Planner(options);
    this.#poll();
  }

  get #nowMs(): number {
    return this.agenda.nowMs;
  }

  /** Runs `task` when this control gets to it. */
  #do(task: () => void): void {
    if (this.isGone) return;
    const waitMs = this.stalledUntilMs - this.#nowMs;
    if (waitMs <= 0) task();
    else this.agenda.in(waitMs, () => this.#do(task));
  }

  onMember(event: MembershipEvent | null): void {
    this.#do(() => this.#stepMembership(event));
  }

  onStats(
    edgeId: string,
    session: number,
    moves: MoveReport,
    loads: LoadReport,
    counts: EdgeCounts,
    capacity: number,
  ): void {
    this.#do(() => {
      const isSane = findReportProblem(loads, this.options.shardCount, capacity) === undefined;
      this.#stepMembership({ type: 'report', edgeId, session, counts });
      const record = this.membership.edges.find(({ id }) => id === edgeId);
      if (record?.state.type !== 'alive' || record.state.session !== session) return;
      this.tell({ type: 'report', moves, loads: isSane ? loads : undefined });
    });
  }

  tell(event: PlannerEvent): void {
    this.#do(() => this.#stepPlanner(event));
  }

  #stepMembership(event: MembershipEvent | null): void {
    const { actions, wakeAtMs } = this.membership.step(this.#nowMs, event);
    this.#wake('membership', wakeAtMs, () => this.onMember(null));
    this.#stepPlanner({
      type: 'edges',
      edges: this.membership.edges.map((record) => ({
        ...record,
        zone: '',
        isMember: isMember(record),
        isAlive: record.state.type === 'alive',
        isPartitioned: this.membership.partitionedEdges.has(record.id),
      })),
      newestSeen: this.membership.newestSeen,
      isFrozen: this.membership.frozenUntilMs !== undefined,
    });
    for (const action of actions) {
      if (action.type === 'replan') this.#stepPlanner({ type: 'replan' });
      if (action.type === 'end') this.endSession(action.session);
      if (action.type === 'drain') {
        this.#stepPlanner({ type: 'intent', edgeId: action.edgeId, intent: 'draining' });
      }
    }
  }

  #stepPlanner(event: PlannerEvent | null): void {
    const { actions, wakeAtMs } = this.planner.step(this.#nowMs, event);
    this.#wake('planner', wakeAtMs, () => this.#do(() => this.#stepPlanner(null)));
    for (const { next, on } of actions) this.#write(next, on);
  }

  #wake(machine: 'membership' | 'planner', atMs: number, run: () => void): void {
    this.#wakes[machine] = atMs;
    if (atMs === Number.POSITIVE_INFINITY) return;
    this.agenda.in(atMs - this.#nowMs, () => {
      // A later step has set another alarm.
      if (this.#wakes[machine] === atMs) run();
    });
  }

  #write(next: Assignment, on: Position): void {
    this.#isBusy = true;
    this.#writes++;
    this.agenda.in(this.weather.redisMs(), () => {
      const isCommitted = this.store.write(next, on);
      const isAnswered = !this.weather.losesAnswer();
      const table = this.store.table;
      this.agenda.in(this.weather.redisMs(), () =>
        this.#do(() => {
          this.#isBusy = false;
          if (!isAnswered) this.#stepPlanner({ type: 'write-failed' });
          else if (isCommitted) this.#stepPlanner({ type: 'written' });
          else this.#stepPlanner({ type: 'read', assignment: table });
        }),
      );
    });
  }

  /** Once a second, unless a write is on its way: one thing after the other. */
  #poll(): void {
    if (this.isGone) return;
    this.agenda.in(1_000, () => this.#poll());
    this.#do(() => {
      if (this.#isBusy) return;
      const writes = this.#writes;
      this.agenda.in(this.weather.redisMs(), () => {
        const table = this.store.table;
        this.#do(() => {
          // A read that a write has overtaken would look like a Redis that has lost it.
          if (this.#writes !== writes) return;
          if (!this.#isRestored) {
            this.#isRestored = true;
            this.#stepMembership({ type: 'restored', edges: table?.edges ?? [] });
          }
          this.#stepPlanner({ type: 'read', assignment: table });
        });
      });
    });
  }

  get position(): Position {
    return this.planner.current?.position ?? ORIGIN;
  }
}
