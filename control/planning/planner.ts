/**
 * The planner: keeps the table what the edges, their loads and the operators call for. A pure
 * machine; its driver reads and writes the table, and tells it what comes in.
 *
 * The table is all that survives this control, so it holds all that others need: owners, intents,
 * the moves in flight, and whether evening out has begun and is not finished. The rest of a plan is
 * only in memory, in a queue from which a bounded number of moves is in flight at a time; whoever
 * leads next plans anew from what is then so.
 *
 * Invariants: one write is on its way at most, on top of the newest table that was read, and none
 * after a write whose outcome is unknown until the table is read again; what is written makes
 * sense; positions only grow; no more than `movesInFlightMax` moves are begun at a time, and one
 * per shard; while membership is frozen nothing is planned or begun.
 */
import {
  type Assignment,
  type Content,
  comparePositions,
  type EdgeIdentity,
  findProblem,
  type Intent,
  type Move,
  NO_OWNER,
  ORIGIN,
  type Position,
} from '../../common/cluster/assignment.js';
import type { Rejection } from '../../common/process/errors.js';
import { assertNever, type Machine, type Output } from '../../common/process/state-machine.js';
import { Cooldowns } from './cooldowns.js';
import { type LoadReport, Loads } from '../placement/loads.js';
import { MoveWatch } from './move-tracker.js';
import type { MoveDeadlines, MoveReport, MoveStep } from './moves.js';
import { makePlan, type Plan, placeAtOnce, type Step, type World } from './plan.js';
import { PlanQueue } from './plan-queue.js';
import { rejectIntent, rejectPlan } from './preconditions.js';
import { adoptMembers, beginMoves, isSameContent, setIntent, settleMoves } from './transitions.js';

export interface PlannerEdge extends EdgeIdentity {
  /** Undefined: it has not said hello to this control yet. */
  readonly capacity: number | undefined;
  /** Empty: none was given. */
  readonly zone: string;
  /** Not dead: its shards stay with it. */
  readonly isMember: boolean;
  /** Heard: it can be given shards, unless it is cut off. */
  readonly isAlive: boolean;
  /** It is heard, and says that it cannot deliver: its shards are to go to others. */
  readonly isPartitioned: boolean;
}

export type PlannerEvent =
  /** What is stored: at first, when it is newer than what is known, and after a lost race. */
  | { readonly type: 'read'; readonly assignment: Assignment | undefined }
  /** The write on its way is stored. */
  | { readonly type: 'written' }
  /** The write on its way may or may not be stored. */
  | { readonly type: 'write-failed' }
  /** Whenever membership has changed. `newestSeen`: the newest assignment that any edge knows. */
  | {
      readonly type: 'edges';
      readonly edges: readonly PlannerEdge[];
      readonly newestSeen: Position;
      readonly isFrozen: boolean;
    }
  /** Membership says that it is time to act on the change. */
  | { readonly type: 'replan' }
  /** With every report of an edge. `loads` is undefined when they made no sense. */
  | {
      readonly type: 'report';
      readonly moves: MoveReport;
      readonly loads: LoadReport | undefined;
    }
  /** Ask `rejectIntent` first. */
  | { readonly type: 'intent'; readonly edgeId: string; readonly intent: Intent }
  /** Ask `rejectPlan` first. */
  | { readonly type: 'apply'; readonly plan: Plan }
  /** Nothing is planned or begun; what is handing over goes on. */
  | { readonly type: 'pause' }
  | { readonly type: 'resume' }
  /** A pause that also takes back what nobody has noticed yet. */
  | { readonly type: 'abort' };

/** Write `next` if the table is still at `on`, by compare-and-set. */
export interface PlannerAction {
  readonly type: 'write';
  readonly next: Assignment;
  readonly on: Position;
}

export interface PlannerOptions extends MoveDeadlines {
  readonly shardCount: number;
  /** The traffic of a moving shard goes to two edges. */
  readonly movesInFlightMax: number;
  /** How many idle connections one message per second is worth. */
  readonly messageWeight: number;
}

/** At least twice the interval of reports, so that a plan sees what the one before has done. */
const PLAN_INTERVAL_MS = 30_000;
/** Steps of moves that come close together are written together: each table goes to everybody. */
const WRITE_INTERVAL_MS = 250;
/**
 * Of the moves that may be in flight, so many are begun in one write. Those begun together end
 * together, and are a burst of work for the same edges at each step.
 */
const BEGUN_AT_ONCE_SHARE = 1 / 16;
const BEGUN_AT_ONCE_MIN = 4;
/** Loads are taken down this often, so that those of an edge that dies are not old. */
const MEASURE_INTERVAL_MS = 5_000;

/** A plan that could not be carried out is made again this soon. */
const RETRY_MS = 5_000;

/** What is on its way, and what becomes due again if it does not arrive. */
interface Writing {
  readonly action: PlannerAction;
  readonly isReplan: boolean;
  readonly isAbort: boolean;
  readonly begun: readonly Step[];
}

export class Planner implements Machine<PlannerEvent, PlannerAction> {
  readonly #loads: Loads;
  readonly #cooldowns = new Cooldowns();
  /** The newest assignment known. Undefined: nothing is stored, or it was not read yet. */
  #current: Assignment | undefined;
  /** Position of what is stored; undefined: it must be read before anything is written. */
  #stored: Position | undefined;
  #writing: Writing | undefined;
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  #newestSeen = ORIGIN;
  #edges = new Map<string, PlannerEdge>();
  #isFrozen = false;
  #isPaused = false;
  #isReplanDue = false;
  #isAbortDue = false;
  /** Asked for, and not stored yet. */
  readonly #intents = new Map<string, Intent>();
  readonly #watch: MoveWatch;
  readonly #queue = new PlanQueue(this.#cooldowns);
  #planAtMs: number | undefined;
  #measuredAtMs = Number.NEGATIVE_INFINITY;
  /** The last thing that was not done because it made no sense: a bug, to be alarmed about. */
  #problem: string | undefined;

  constructor(readonly options: PlannerOptions) {
    this.#loads = new Loads(options.shardCount, options.messageWeight);
    this.#watch = new MoveWatch(options);
  }

  get current(): Assignment | undefined {
    return this.#current;
  }

  /** What waits to be begun, in this order. */
  get queue(): readonly Step[] {
    return this.#queue.steps;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  step(nowMs: number, event: PlannerEvent | null): Output<PlannerAction> {
    this.#planAtMs ??= nowMs + PLAN_INTERVAL_MS;
    if (event !== null) this.#take(nowMs, event);
    if (nowMs >= this.#measuredAtMs + MEASURE_INTERVAL_MS) {
      this.#measuredAtMs = nowMs;
      this.#loads.measure(nowMs);
    }
    const isWriting = this.#writing !== undefined;
    if (!isWriting && this.#stored !== undefined) this.#decide(nowMs, this.#stored);
    const actions = isWriting || this.#writing === undefined ? [] : [this.#writing.action];
    return { actions, wakeAtMs: this.#wakeAtMs(nowMs) };
  }

  /** What an operator who asks now would get. Undefined while there is no assignment. */
  preview(nowMs: number): Plan | undefined {
    const current = this.#current;
    return current && makePlan(current, current.position, this.#world(nowMs, current), true);
  }

  rejectPlan(plan: Plan): Rejection | undefined {
    return rejectPlan(plan, this.#current?.position ?? ORIGIN, this.#queue.length);
  }

  rejectIntent(edgeId: string, intent: Intent, isForced: boolean): Rejection | undefined {
    const edges = this.#current?.edges ?? [];
    const wanted = edges.map((edge) => {
      return { ...edge, intent: this.#intents.get(edge.id) ?? edge.intent };
    });
    return rejectIntent(wanted, edgeId, intent, isForced);
  }

  #take(nowMs: number, event: PlannerEvent): void {
    switch (event.type) {
      case 'read':
        this.#onRead(nowMs, event.assignment);
        break;
      case 'written':
        this.#onWritten(nowMs);
        break;
      case 'write-failed':
        this.#takeBack();
        this.#stored = undefined;
        break;
      case 'edges':
        this.#onEdges(nowMs, event.edges);
        this.#isFrozen = event.isFrozen;
        if (comparePositions(event.newestSeen, this.#newestSeen) > 0) {
          this.#newestSeen = event.newestSeen;
        }
        break;
      case 'replan':
        this.#isReplanDue = true;
        break;
      case 'report':
        if (this.#watch.hear(event.moves)) {
          this.#loads.hear(nowMs, event.moves.edgeId, event.loads);
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
    for (const { id, isPartitioned } of edges) {
      if ((this.#edges.get(id)?.isPartitioned ?? false) === isPartitioned) continue;
      // It may be cut off again: what it still has stays, but it is given nothing for a while.
      if (!isPartitioned) this.#cooldowns.failed(nowMs, id);
      this.#queue.replace([]);
      this.#planAtMs = nowMs;
    }
    this.#edges = new Map(edges.map((edge) => [edge.id, edge]));
  }

  #onRead(nowMs: number, stored: Assignment | undefined): void {
    this.#takeBack();
    this.#stored = stored?.position ?? ORIGIN;
    if (stored === undefined) return;
    if (comparePositions(stored.position, this.#current?.position ?? ORIGIN) <= 0) return;
    // Another control is at work, or we come after one: its table may call for another plan.
    if (this.#queue.length > 0) this.#planSoon(nowMs);
    this.#queue.replace([]);
    this.#follow(nowMs, stored);
  }

  #onWritten(nowMs: number): void {
    if (this.#writing === undefined) return;
    const { next } = this.#writing.action;
    this.#writing = undefined;
    this.#stored = next.position;
    this.#follow(nowMs, next);
  }

  /** What was on its way is not stored, as far as is known. */
  #takeBack(): void {
    if (this.#writing === undefined) return;
    this.#isReplanDue ||= this.#writing.isReplan;
    this.#isAbortDue ||= this.#writing.isAbort && this.#isPaused;
    this.#queue.putBack(this.#writing.begun);
    this.#writing = undefined;
  }

  /** `next` is the assignment in force from now on. */
  #follow(nowMs: number, next: Assignment): void {
    // The loads of a table that is new to this control are known after as long.
    if (this.#current === undefined) this.#planAtMs = nowMs + PLAN_INTERVAL_MS;
    this.#current = next;
    this.#loads.follow(nowMs, next);
    this.#watch.follow(nowMs, next);
    for (const { id, intent } of next.edges) {
      if (this.#intents.get(id) === intent) this.#intents.delete(id);
    }
  }

  /** Sets `#writing` if the table is to change. */
  #decide(nowMs: number, stored: Position): void {
    const newest = newer(this.#newestSeen, this.#current?.position ?? ORIGIN);
    const hasLostWrites = comparePositions(newest, stored) > 0;
    const isUrgent =
      hasLostWrites || this.#isReplanDue || this.#isAbortDue || this.#intents.size > 0;
    if (!isUrgent && !this.#hasWork(nowMs)) return;

    const base = this.#current ?? emptyContent(this.options.shardCount);
    const [isReplan, isAbort] = [this.#isReplanDue, this.#isAbortDue];
    let content: Content = base;
    const change = (name: string, next: Content) => {
      const problem = findProblem(next);
      if (problem === undefined) content = next;
      else this.#problem = `${name}: ${problem}`;
    };
    if (isReplan) change('replan', this.#adopt(nowMs, content));
    for (const [edgeId, intent] of this.#intents) {
      if (!content.edges.some(({ id }) => id === edgeId)) this.#intents.delete(edgeId);
      else change('intent', setIntent(content, edgeId, intent));
    }
    if (isReplan || this.#intents.size > 0) {
      this.#queue.replace([]);
      this.#planAtMs = nowMs;
    }
    change(
      'moves',
      settleMoves(content, (move) => this.#stepOf(nowMs, move)),
    );
    if (isAbort) change('abort', { ...content, isBalancing: false });
    this.#isReplanDue = false;
    this.#isAbortDue = false;
    if (content.edges.length === 0) return;
    change('plan', this.#planIfDue(nowMs, content, stored));
    const begun = this.#begin(nowMs, content);
    change('begin', beginMoves(content, begun));
    if (isSameContent(content, base) && !hasLostWrites) return;
    const position = {
      // Only a higher incarnation is newer than all that anybody has seen.
      incarnation: hasLostWrites ? newest.incarnation + 1 : stored.incarnation,
      epoch: Math.max(newest.epoch, stored.epoch) + 1,
    };
    const action = { type: 'write', next: { ...content, position }, on: stored } as const;
    this.#writing = { action, isReplan, isAbort, begun };
    this.#writtenAtMs = nowMs;
  }

  /** Most events change nothing: a look at the moves is cheaper than at all shards. */
  #hasWork(nowMs: number): boolean {
    if (nowMs < this.#writtenAtMs + WRITE_INTERVAL_MS) return false;
    const moves = this.#current?.moves ?? [];
    return (
      nowMs >= this.#planAtMs! ||
      (this.#queue.length > 0 && moves.length < this.options.movesInFlightMax) ||
      moves.some((move) => (this.#stepOf(nowMs, move)?.type ?? 'wait') !== 'wait')
    );
  }

  #adopt(nowMs: number, content: Content): Content {
    const members = [...this.#edges.values()].filter((edge) => edge.isMember);
    // Nobody to give anything to: what was, stands.
    if (members.length === 0) return content;
    const adopted = adoptMembers(content, members);
    const owners = placeAtOnce(adopted, adopted.owners, this.#world(nowMs, adopted));
    return { ...adopted, owners };
  }

  #stepOf(nowMs: number, move: Move): MoveStep | undefined {
    if (this.#isAbortDue && move.phase === 'acquiring') {
      return { type: 'roll-back', why: 'unwanted' };
    }
    const step = this.#watch.stepOf(nowMs, move);
    if (step?.type === 'roll-back') {
      if (step.why === 'deadline') this.#cooldowns.failed(nowMs, move.to);
      this.#planSoon(nowMs);
    }
    return step;
  }

  /** Evening out is over when a plan finds nothing left to do for it. */
  #planIfDue(nowMs: number, content: Content, on: Position): Content {
    if (nowMs < this.#planAtMs!) return content;
    this.#planAtMs = nowMs + PLAN_INTERVAL_MS;
    if (this.#isPaused || this.#isFrozen || this.#queue.length > 0) return content;
    const plan = makePlan(content, on, this.#world(nowMs, content), false);
    if (plan.problems.length > 0) this.#problem = plan.problems.join('; ');
    this.#queue.replace(plan.steps);
    return { ...content, isBalancing: content.isBalancing && plan.isUnfinished };
  }

  #begin(nowMs: number, content: Content): Step[] {
    if (this.#isPaused || this.#isFrozen) return [];
    const { movesInFlightMax } = this.options;
    const free = Math.min(
      movesInFlightMax - content.moves.length,
      Math.max(BEGUN_AT_ONCE_MIN, Math.ceil(movesInFlightMax * BEGUN_AT_ONCE_SHARE)),
    );
    const canReceive = (edgeId: string) => this.#canReceive(nowMs, edgeId);
    const { begun, hasDropped } = this.#queue.take(nowMs, content, free, canReceive);
    if (hasDropped) this.#planSoon(nowMs);
    return begun;
  }

  #world(nowMs: number, content: Content): World {
    const capacities = [...this.#edges.values()].flatMap(({ capacity }) => capacity ?? []);
    const mean = capacities.reduce((sum, one) => sum + one, 0) / (capacities.length || 1);
    return {
      edges: content.edges.map(({ id }) => ({
        id,
        capacity: this.#edges.get(id)?.capacity ?? Math.max(1, mean),
        zone: this.#edges.get(id)?.zone ?? '',
        isAlive: this.#canReceive(nowMs, id),
        isPartitioned: this.#edges.get(id)?.isPartitioned ?? false,
        isKnown: this.#loads.isEdgeKnown(nowMs, id),
        mayGive: this.#cooldowns.mayGive(nowMs, id),
        mayReceive: this.#cooldowns.mayReceive(nowMs, id),
      })),
      loads: this.#loads.measure(nowMs),
      isCooling: (shard) => this.#cooldowns.isCooling(nowMs, shard),
    };
  }

  #canReceive(nowMs: number, edgeId: string): boolean {
    const edge = this.#edges.get(edgeId);
    const isThere = edge?.isAlive === true && !edge.isPartitioned;
    return isThere && !this.#cooldowns.hasFailed(nowMs, edgeId);
  }

  #planSoon(nowMs: number): void {
    this.#planAtMs = Math.min(this.#planAtMs!, nowMs + RETRY_MS);
  }

  #wakeAtMs(nowMs: number): number {
    const dueAtMs = [this.#planAtMs!, this.#writtenAtMs + WRITE_INTERVAL_MS];
    const times = [...dueAtMs, ...this.#watch.endsAtMs()];
    // What is due already waits for an event, not for time.
    return Math.min(Number.POSITIVE_INFINITY, ...times.filter((time) => time > nowMs));
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
