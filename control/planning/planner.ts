/**
 * The planner keeps the assignment in line with the edges, their loads and the operators' requests.
 * A pure machine; its driver reads and writes the stored assignment and passes events in.
 *
 * Only the stored assignment survives this control. So it holds everything that another leader
 * needs: owners, intents, the moves in flight, and whether balancing has started and is not
 * finished. The rest of a plan is a queue in memory, from which a bounded number of moves is in
 * flight at a time. The next leader plans again from the state that it finds.
 *
 * Invariants:
 * - At most one write is pending. It is based on the newest assignment that was read, and after a
 *   write with unknown outcome the assignment is read again before the next write.
 * - Every assignment that is written is valid, and positions only grow. Two writes of one control
 *   never have the same position.
 * - At most `movesInFlightMax` moves are in flight, and at most one per shard.
 * - Nothing is planned or started while membership is frozen.
 */

import {
  type Assignment,
  type Content,
  findProblem,
  type Intent,
  type Move,
  NO_OWNER,
} from '../../common/cluster/assignment.js';
import type { Rejection } from '../../common/process/errors.js';
import { assertNever, type Machine, type Output } from '../../common/process/state-machine.js';
import { comparePositions, ORIGIN, type Position } from '../../common/wire/position.js';
import { assignUnowned } from './assign-unowned.js';
import { ClusterView } from './cluster-view.js';
import { makePlan } from './make-plan.js';
import { MoveTracker } from './move-tracker.js';
import type { MoveStep } from './moves.js';
import type { Plan, PlanStep } from './plan.js';
import { PlanQueue } from './plan-queue.js';
import type { PlannerAction, PlannerEdge, PlannerEvent, PlannerOptions } from './planner-events.js';
import { rejectIntent, rejectPlan } from './preconditions.js';
import { adoptMembers, advanceMoves, isSameContent, setIntent, startMoves } from './transitions.js';

/** At least two report intervals, so that a plan sees the effect of the one before. */
const PLAN_INTERVAL_MS = 30_000;
/** Delay until the next plan after one that could not be carried out as made. */
const RETRY_MS = 5_000;
/** Combines steps of moves into one write: every assignment is sent to all edges and routers. */
const WRITE_INTERVAL_MS = 250;
/**
 * Share of `movesInFlightMax` that one write may start. Moves that start together end together, and
 * are a burst of work for the same edges at each step.
 */
const STARTED_AT_ONCE_SHARE = 1 / 16;
const STARTED_AT_ONCE_MIN = 4;

/** A write whose outcome is unknown, and the requests that become due again if it fails. */
interface PendingWrite {
  readonly action: PlannerAction;
  readonly isReplan: boolean;
  readonly isAbort: boolean;
  readonly started: readonly PlanStep[];
}

export class Planner implements Machine<PlannerEvent, PlannerAction> {
  readonly #view: ClusterView;
  readonly #moves: MoveTracker;
  readonly #queue: PlanQueue;
  /** The newest assignment known. Undefined: nothing is stored, or it was not read yet. */
  #current: Assignment | undefined;
  /** Position of the stored assignment; undefined: it must be read before the next write. */
  #stored: Position | undefined;
  /**
   * What is stored has the position of `#current`, but another content: Redis has lost a write, and
   * another control has written one in its place.
   */
  #hasDiverged = false;
  /** Highest epoch of a write whose outcome is unknown: others may have seen it. */
  #epochTried = 0;
  #pendingWrite: PendingWrite | undefined;
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  #newestSeen = ORIGIN;
  #isFrozen = false;
  #isPaused = false;
  #isReplanDue = false;
  #isAbortDue = false;
  /** Requested intents that are not stored yet, by edge id. */
  readonly #intents = new Map<string, Intent>();
  /** Undefined until the first step. */
  #planAtMs: number | undefined;
  #problem: string | undefined;

  constructor(readonly options: PlannerOptions) {
    this.#view = new ClusterView(options.shardCount, options.messageWeight);
    this.#moves = new MoveTracker(options);
    this.#queue = new PlanQueue(this.#view.cooldowns);
  }

  get current(): Assignment | undefined {
    return this.#current;
  }

  /** Planned moves that have not started, in their order. */
  get queue(): readonly PlanStep[] {
    return this.#queue.steps;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** The last change that was discarded because it was invalid: a bug. */
  get problem(): string | undefined {
    return this.#problem;
  }

  step(nowMs: number, event: PlannerEvent | null): Output<PlannerAction> {
    this.#planAtMs ??= nowMs + PLAN_INTERVAL_MS;
    if (event !== null) this.#handle(nowMs, event);
    this.#view.measureIfDue(nowMs);
    const wasWriting = this.#pendingWrite !== undefined;
    if (!wasWriting && this.#stored !== undefined) this.#decide(nowMs, this.#stored);
    const isNew = !wasWriting && this.#pendingWrite !== undefined;
    return { actions: isNew ? [this.#pendingWrite!.action] : [], wakeAtMs: this.#wakeAtMs(nowMs) };
  }

  /** The plan for a rebalance that an operator requests now; undefined: there is no assignment. */
  preview(nowMs: number): Plan | undefined {
    const current = this.#current;
    if (current === undefined) return undefined;
    return makePlan(current, current.position, this.#view.planInputs(nowMs, current), true);
  }

  rejectPlan(plan: Plan): Rejection | undefined {
    return rejectPlan(plan, this.#current?.position ?? ORIGIN, this.#queue.length);
  }

  rejectIntent(edgeId: string, intent: Intent, isForced: boolean): Rejection | undefined {
    const edges = (this.#current?.edges ?? []).map((edge) => {
      return { ...edge, intent: this.#intents.get(edge.id) ?? edge.intent };
    });
    return rejectIntent(edges, edgeId, intent, isForced);
  }

  #handle(nowMs: number, event: PlannerEvent): void {
    switch (event.type) {
      case 'read':
        this.#onRead(nowMs, event.assignment);
        break;
      case 'written':
        this.#onWritten(nowMs);
        break;
      case 'write-failed':
        this.#withdrawWrite();
        this.#stored = undefined;
        break;
      case 'edges':
        this.#onEdges(nowMs, event.edges);
        this.#isFrozen = event.isFrozen;
        this.#newestSeen = newer(event.newestSeen, this.#newestSeen);
        break;
      case 'replan':
        this.#isReplanDue = true;
        break;
      case 'report':
        if (this.#moves.onReport(event.moves)) {
          this.#view.onReport(nowMs, event.moves.edgeId, event.loads);
        }
        break;
      case 'intent':
        if (this.rejectIntent(event.edgeId, event.intent, true) === undefined) {
          this.#intents.set(event.edgeId, event.intent);
        }
        break;
      case 'apply':
        if (this.rejectPlan(event.plan) === undefined) this.#queue.replace(event.plan.steps);
        break;
      case 'pause':
        this.#isPaused = true;
        break;
      case 'resume':
        this.#isPaused = false;
        this.#isAbortDue = false;
        this.#planAtMs = nowMs;
        break;
      case 'abort':
        this.#isPaused = true;
        this.#isAbortDue = true;
        this.#queue.replace([]);
        break;
      default:
        assertNever(event);
    }
  }

  #onEdges(nowMs: number, edges: readonly PlannerEdge[]): void {
    if (!this.#view.setEdges(nowMs, edges)) return;
    this.#queue.replace([]);
    this.#planAtMs = nowMs;
  }

  #onRead(nowMs: number, stored: Assignment | undefined): void {
    this.#withdrawWrite();
    this.#stored = stored?.position ?? ORIGIN;
    this.#hasDiverged = false;
    if (stored === undefined) return;
    const order = comparePositions(stored.position, this.#current?.position ?? ORIGIN);
    this.#hasDiverged =
      order === 0 && this.#current !== undefined && !isSameContent(stored, this.#current);
    if (order <= 0) return;
    // Another control has written it, so the queue may not fit any more.
    if (this.#queue.length > 0) this.#planSoon(nowMs);
    this.#queue.replace([]);
    this.#setCurrent(nowMs, stored);
  }

  #onWritten(nowMs: number): void {
    if (this.#pendingWrite === undefined) return;
    const { next } = this.#pendingWrite.action;
    this.#pendingWrite = undefined;
    this.#stored = next.position;
    this.#hasDiverged = false;
    this.#setCurrent(nowMs, next);
  }

  /** Treats the pending write as not stored. */
  #withdrawWrite(): void {
    if (this.#pendingWrite === undefined) return;
    this.#epochTried = Math.max(this.#epochTried, this.#pendingWrite.action.next.position.epoch);
    this.#isReplanDue ||= this.#pendingWrite.isReplan;
    this.#isAbortDue ||= this.#pendingWrite.isAbort && this.#isPaused;
    this.#queue.putBack(this.#pendingWrite.started);
    this.#pendingWrite = undefined;
  }

  #setCurrent(nowMs: number, next: Assignment): void {
    // The first plan waits this long, because the loads under the first assignment are not known
    // earlier.
    if (this.#current === undefined) this.#planAtMs = nowMs + PLAN_INTERVAL_MS;
    this.#current = next;
    this.#view.onAssignment(nowMs, next);
    this.#moves.onAssignment(nowMs, next);
    for (const { id, intent } of next.edges) {
      if (this.#intents.get(id) === intent) this.#intents.delete(id);
    }
  }

  /** Sets `#pendingWrite` if the assignment has to change. */
  #decide(nowMs: number, stored: Position): void {
    const newest = newer(this.#newestSeen, this.#current?.position ?? ORIGIN);
    const hasLostWrites = this.#hasDiverged || comparePositions(newest, stored) > 0;
    const isUrgent =
      hasLostWrites || this.#isReplanDue || this.#isAbortDue || this.#intents.size > 0;
    if (!isUrgent && !this.#hasWork(nowMs)) return;

    const base = this.#current ?? emptyContent(this.options.shardCount);
    const [isReplan, isAbort] = [this.#isReplanDue, this.#isAbortDue];
    let content = this.#applyRequests(nowMs, base);
    this.#isReplanDue = false;
    this.#isAbortDue = false;
    if (content.edges.length === 0) return;
    content = this.#checked('plan', this.#planIfDue(nowMs, content, stored), content);
    const started = this.#takeSteps(nowMs, content);
    content = this.#checked('start', startMoves(content, started), content);
    if (isSameContent(content, base) && !hasLostWrites) return;
    const position = {
      // Only a higher incarnation is newer than everything that any edge has seen.
      incarnation: hasLostWrites ? newest.incarnation + 1 : stored.incarnation,
      epoch: Math.max(newest.epoch, stored.epoch, this.#epochTried) + 1,
    };
    const action = { type: 'write', next: { ...content, position }, on: stored } as const;
    this.#pendingWrite = { action, isReplan, isAbort, started };
    this.#writtenAtMs = nowMs;
  }

  /** Applies changed members, requested intents, the next steps of moves, and an abort. */
  #applyRequests(nowMs: number, base: Content): Content {
    let content = base;
    const isReplan = this.#isReplanDue;
    if (isReplan) content = this.#checked('replan', this.#adoptMembers(nowMs, content), content);
    for (const [edgeId, intent] of this.#intents) {
      if (!content.edges.some(({ id }) => id === edgeId)) this.#intents.delete(edgeId);
      else content = this.#checked('intent', setIntent(content, edgeId, intent), content);
    }
    if (isReplan || this.#intents.size > 0) {
      this.#queue.replace([]);
      this.#planAtMs = nowMs;
    }
    const advanced = advanceMoves(content, (move) => this.#stepOf(nowMs, move));
    content = this.#checked('moves', advanced, content);
    return this.#isAbortDue ? { ...content, isBalancing: false } : content;
  }

  /** Returns `next` if it is valid, otherwise `fallback`. */
  #checked(change: string, next: Content, fallback: Content): Content {
    const problem = findProblem(next);
    if (problem === undefined) return next;
    this.#problem = `${change}: ${problem}`;
    return fallback;
  }

  /** A cheap test, because most events change nothing and a decision looks at every shard. */
  #hasWork(nowMs: number): boolean {
    if (nowMs < this.#writtenAtMs + WRITE_INTERVAL_MS) return false;
    const moves = this.#current?.moves ?? [];
    return (
      nowMs >= this.#planAtMs! ||
      (this.#queue.length > 0 && moves.length < this.options.movesInFlightMax) ||
      this.#moves.hasSteps(nowMs)
    );
  }

  #adoptMembers(nowMs: number, content: Content): Content {
    const { members } = this.#view;
    // Without members no edge can own a shard, so the assignment stays as it is.
    if (members.length === 0) return content;
    const adopted = adoptMembers(content, members);
    const inputs = this.#view.planInputs(nowMs, adopted);
    return { ...adopted, owners: assignUnowned(adopted, adopted.owners, inputs) };
  }

  #stepOf(nowMs: number, move: Move): MoveStep | undefined {
    if (this.#isAbortDue && move.phase === 'acquiring') {
      return { type: 'roll-back', reason: 'unwanted' };
    }
    const step = this.#moves.stepOf(nowMs, move);
    if (step?.type === 'roll-back') {
      if (step.reason === 'deadline') this.#view.cooldowns.onAcquireFailed(nowMs, move.to);
      this.#planSoon(nowMs);
    }
    return step;
  }

  /**
   * Steps that wait are planned again only if an edge can receive that could not before: a drain
   * may take long, and would go to the other edges alone. Balancing is finished when a plan finds
   * no more moves for it.
   */
  #planIfDue(nowMs: number, content: Content, on: Position): Content {
    if (nowMs < this.#planAtMs!) return content;
    this.#planAtMs = nowMs + PLAN_INTERVAL_MS;
    if (this.#isPaused || this.#isFrozen) return content;
    const canReceive = (edgeId: string) => this.#view.canReceive(nowMs, edgeId);
    if (this.#queue.length > 0 && !this.#queue.isOutdated(canReceive)) return content;
    const plan = makePlan(content, on, this.#view.planInputs(nowMs, content), false);
    if (plan.problems.length > 0) this.#problem = plan.problems.join('; ');
    const open = content.edges.flatMap(({ id, intent }) => (intent === 'none' ? [id] : []));
    this.#queue.replace(
      plan.steps,
      open.filter((edgeId) => !canReceive(edgeId)),
    );
    return { ...content, isBalancing: content.isBalancing && plan.isUnfinished };
  }

  /** Takes the steps from the queue whose moves start with this write. */
  #takeSteps(nowMs: number, content: Content): PlanStep[] {
    if (this.#isPaused || this.#isFrozen) return [];
    const { movesInFlightMax } = this.options;
    const count = Math.min(
      movesInFlightMax - content.moves.length,
      Math.max(STARTED_AT_ONCE_MIN, Math.ceil(movesInFlightMax * STARTED_AT_ONCE_SHARE)),
    );
    const canReceive = (edgeId: string) => this.#view.canReceive(nowMs, edgeId);
    const { started, hasDropped } = this.#queue.take(nowMs, content, count, canReceive);
    if (hasDropped) this.#planSoon(nowMs);
    return started;
  }

  #planSoon(nowMs: number): void {
    this.#planAtMs = Math.min(this.#planAtMs!, nowMs + RETRY_MS);
  }

  #wakeAtMs(nowMs: number): number {
    let wakeAtMs = this.#moves.nextDeadlineMs(nowMs);
    // Work that is already due waits for an event, not for time.
    for (const dueAtMs of [this.#planAtMs!, this.#writtenAtMs + WRITE_INTERVAL_MS]) {
      if (dueAtMs > nowMs && dueAtMs < wakeAtMs) wakeAtMs = dueAtMs;
    }
    return wakeAtMs;
  }
}

function emptyContent(shardCount: number): Content {
  return {
    edges: [],
    owners: new Uint16Array(shardCount).fill(NO_OWNER),
    moves: [],
    isBalancing: false,
  };
}

function newer(a: Position, b: Position): Position {
  return comparePositions(a, b) > 0 ? a : b;
}
