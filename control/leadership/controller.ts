/**
 * What a control is to everybody else, whether it leads or not: the newest assignment, the edges'
 * sessions, and what operators steer. While it leads, a `LeadershipTerm` does the work; while another does, it
 * follows the stored table, so that routers which watch here lack nothing.
 */
import {
  type Assignment,
  comparePositions,
  type Intent,
  ORIGIN,
  type Position,
} from '../../common/cluster/assignment.js';
import { readAssignment } from '../../common/cluster/assignment-store.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { notLeader, nowMs, type Session } from '../membership/membership-driver.js';
import type { EdgeRecord, HelloEdge } from '../membership/membership.js';
import type {
  Audit,
  DrainOptions,
  LogEntry,
  LoggedEvent,
  MovesInfo,
  Operations,
  OperatorEntry,
  PlanInfo,
} from './operations.js';
import { drainProgress } from '../pace/drain-progress.js';
import { donorsAmong, receiversAmong } from '../pace/goaway-pace.js';
import { type Pace, Pacer } from '../pace/pace.js';
import { summarize } from '../planning/plan-summary.js';
import { changesBetween } from './changes.js';
import { EventLog } from './event-log.js';
import type { Leader } from './leadership.js';
import {
  LeadershipTerm,
  type LeadershipTermCounters,
  movesInFlightMax,
  type StoreProblem,
} from './leadership-term.js';

const SECOND_MS = 1_000;
/** Proof, two reports and the linger of the edge that hands over. */
const MOVE_SECONDS_MIN = 15;

export interface ControllerOptions {
  readonly link: Pick<RedisLink, 'commands'>;
  readonly controlId: string;
  readonly shardCount: number;
  readonly leaseMs: number;
  /** Reconnects a second that the cluster is to bear at most when shards move. */
  readonly reconnectsPerSecondMax: number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** How fast one edge is to let clients go. */
export interface EdgePace {
  readonly perSecond: number;
  /** Unix time; undefined: whoever is left may stay. */
  readonly drainUntilMs: number | undefined;
}

/** What an operator has said of one drain. */
interface DrainWish {
  readonly perSecondMax: number;
  readonly untilMs: number | undefined;
}

const NO_PACE: Pace = {
  perSecond: 0,
  byEdge: new Map(),
  secondsRemaining: 0,
  reason: 'nothing-to-do',
};

export class Controller implements Operations {
  readonly #options: ControllerOptions;
  readonly #log: Logger;
  readonly #counters: LeadershipTermCounters;
  readonly #events = new EventLog();
  readonly #watchers = new Set<(assignment: Assignment) => void>();
  readonly #drains = new Map<string, DrainWish>();
  readonly #everySecond: NodeJS.Timeout;
  #leader: Leader = { type: 'nobody' };
  #term: LeadershipTerm | undefined;
  #current: Assignment | undefined;
  #pacer: Pacer;
  #pace = NO_PACE;
  #wasFrozen = false;
  #werePartitioned: ReadonlySet<string> = new Set();
  #trouble: StoreProblem | undefined = { type: 'unavailable', reason: 'it has not been read yet' };

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#counters = createCounters(options.metrics);
    this.#pacer = this.#newPacer();
    this.#everySecond = setInterval(() => void this.#tick(), SECOND_MS);
    this.#measure();
    void this.#follow();
  }

  get current(): Assignment | undefined {
    return this.#current;
  }

  /** Empty while another control leads: it knows them. */
  get edges(): readonly EdgeRecord[] {
    return this.#term?.members.edges ?? [];
  }

  get leader(): Leader {
    return this.#leader;
  }

  /** Begins or ends to lead. */
  onLeader(leader: Leader): void {
    this.#leader = leader;
    this.#drains.clear();
    this.#pacer = this.#newPacer();
    this.#pace = NO_PACE;
    const { controlId } = this.#options;
    const name = leader.type === 'other' ? leader.control.id : controlId;
    if (leader.type !== 'nobody') this.#record({ type: 'leader-changed', controlId: name });
    this.#term?.close();
    this.#term?.members.close(this.#notLeader());
    this.#term = leader.type === 'me' ? this.#newTerm() : undefined;
  }

  /** Calls `onChange` with the current assignment, if any, and then with every newer one. */
  watch(onChange: (assignment: Assignment) => void): () => void {
    this.#watchers.add(onChange);
    if (this.#current !== undefined) onChange(this.#current);
    return () => this.#watchers.delete(onChange);
  }

  open(edge: HelloEdge, have: Position, end: (why: Rejection) => void): Session | Rejection {
    return this.#term?.members.open(edge, have, end) ?? this.#notLeader();
  }

  /** For the event log: what an edge, or what calls itself one, was not believed. */
  rejected(entry: Extract<LogEntry, { type: 'edge-rejected' | 'report-rejected' }>): void {
    this.#record(entry);
  }

  paceOf(edgeId: string): EdgePace {
    const edge = this.#current?.edges.find(({ id }) => id === edgeId);
    const wish = edge?.intent === 'draining' ? this.#drains.get(edgeId) : undefined;
    const given = this.#pace.byEdge.get(edgeId) ?? 0;
    return {
      perSecond: Math.min(given, wish?.perSecondMax ?? Number.POSITIVE_INFINITY),
      drainUntilMs: wish?.untilMs,
    };
  }

  notReadyReasons(): string[] {
    if (this.#trouble === undefined) return [];
    return [`the stored assignment is ${this.#trouble.type}: ${this.#trouble.reason}`];
  }

  close(): void {
    clearInterval(this.#everySecond);
    this.#term?.close();
  }

  moves(): MovesInfo {
    const { moves = [] } = this.#current ?? {};
    const records = new Map(this.edges.map((edge) => [edge.id, edge]));
    const clientsOn = (edgeId: string, shard: number) => {
      const counts = records.get(edgeId)?.counts;
      return counts && (counts.shards.find((one) => one.shard === shard)?.connections ?? 0);
    };
    const { perSecond, reason, secondsRemaining } = this.#pace;
    return {
      inFlight: moves.map((move) => ({
        ...move,
        clientsRemaining: clientsOn(move.from, move.shard),
      })),
      pending: this.#term?.planner.queue.length ?? 0,
      isPaused: this.#term?.planner.isPaused ?? false,
      frozenUntilMs: this.#term?.members.frozenUntilMs,
      perSecond,
      paceReason: reason,
      secondsRemaining: Number.isFinite(secondsRemaining) ? secondsRemaining : undefined,
      drains: (this.#current?.edges ?? [])
        .filter(({ intent }) => intent === 'draining')
        .map(({ id }) =>
          drainProgress(
            this.#current!,
            id,
            records.get(id)?.counts?.connections,
            this.paceOf(id).perSecond,
          ),
        ),
    };
  }

  plan(): PlanInfo | Rejection {
    if (this.#term === undefined) return this.#notLeader();
    const plan = this.#term.planner.preview(nowMs());
    if (plan === undefined) return rejection('NOT_READY', 'there is no assignment yet');
    const summary = summarize(plan, {
      perSecond: this.#options.reconnectsPerSecondMax,
      movesInFlightMax: movesInFlightMax(this.#options.shardCount),
      moveSecondsMin: MOVE_SECONDS_MIN,
    });
    return { ...summary, on: plan.on };
  }

  rebalance(on: Position | undefined, by: Audit): PlanInfo | Rejection {
    if (this.#term === undefined) return this.#notLeader();
    const { planner } = this.#term;
    const info = this.plan();
    const plan = planner.preview(nowMs());
    if ('code' in info || plan === undefined) return info;
    const rejected = planner.rejectPlan(on === undefined ? plan : { ...plan, on });
    if (rejected !== undefined) return rejected;
    this.#recordOperator('rebalance', '', by);
    this.#term.tell({ type: 'apply', plan });
    return info;
  }

  pause(by: Audit): Rejection | undefined {
    return this.#command('pause', by);
  }

  resume(by: Audit): Rejection | undefined {
    return this.#command('resume', by);
  }

  abort(by: Audit): Rejection | undefined {
    return this.#command('abort', by);
  }

  setIntent(
    edgeId: string,
    intent: Intent,
    { isForced, perSecondMax, deadlineMs }: DrainOptions & { readonly isForced: boolean },
    by: Audit,
  ): Rejection | undefined {
    if (this.#term === undefined) return this.#notLeader();
    const rejected = this.#term.planner.rejectIntent(edgeId, intent, isForced);
    if (rejected !== undefined) return rejected;
    const action = { none: 'undrain', cordoned: 'cordon', draining: 'drain' } as const;
    this.#recordOperator(action[intent], edgeId, by);
    this.#drains.set(edgeId, {
      perSecondMax: perSecondMax ?? Number.POSITIVE_INFINITY,
      untilMs: deadlineMs === undefined ? undefined : Math.round(nowMs() + deadlineMs),
    });
    this.#term.tell({ type: 'intent', edgeId, intent });
    return undefined;
  }

  confirmLostEdges(by: Audit): Rejection | undefined {
    if (this.#term === undefined) return this.#notLeader();
    this.#recordOperator('confirm-lost-edges', '', by);
    this.#term.members.confirmLostEdges();
    return undefined;
  }

  eventsAfter(after: number): readonly LoggedEvent[] {
    return this.#events.after(after);
  }

  watchEvents(onEvent: (event: LoggedEvent) => void): () => void {
    return this.#events.watch(onEvent);
  }

  #command(action: 'pause' | 'resume' | 'abort', by: Audit): Rejection | undefined {
    if (this.#term === undefined) return this.#notLeader();
    this.#recordOperator(action, '', by);
    this.#term.tell({ type: action });
    return undefined;
  }

  async #tick(): Promise<void> {
    if (this.#term === undefined) return this.#follow();
    const { members, planner } = this.#term;
    const isFrozen = members.frozenUntilMs !== undefined;
    if (isFrozen !== this.#wasFrozen) this.#record({ type: isFrozen ? 'frozen' : 'unfrozen' });
    this.#wasFrozen = isFrozen;
    this.#recordPartitioned(members.partitionedEdges);
    // Whoever was told to end has to, whatever else is held back.
    const isHeld = (edge: EdgeRecord) => planner.isPaused && edge.counts?.leaving !== true;
    const donors = donorsAmong(members.edges.filter((edge) => !isHeld(edge)));
    this.#pace = this.#pacer.step(nowMs(), donors, receiversAmong(this.#current, members.edges));
  }

  #recordPartitioned(arePartitioned: ReadonlySet<string>): void {
    const before = this.#werePartitioned;
    this.#werePartitioned = arePartitioned;
    for (const edgeId of arePartitioned) {
      if (!before.has(edgeId)) this.#record({ type: 'edge-partitioned', edgeId });
    }
    for (const edgeId of before) {
      if (!arePartitioned.has(edgeId)) this.#record({ type: 'edge-recovered', edgeId });
    }
  }

  /** Reads what another control has written. */
  async #follow(): Promise<void> {
    const { link, shardCount } = this.#options;
    const result = await readAssignment(link.commands, shardCount);
    if (this.#term !== undefined) return;
    if (result.type === 'assignment') this.#publish(result.assignment);
    this.#onStoreProblem(
      result.type === 'garbage' || result.type === 'unavailable' ? result : undefined,
    );
  }

  #newTerm(): LeadershipTerm {
    const { link, shardCount, leaseMs } = this.#options;
    return new LeadershipTerm({
      link,
      shardCount,
      leaseMs,
      log: this.#log,
      counters: this.#counters,
      onAssignment: (assignment) => this.#publish(assignment),
      onStoreProblem: (trouble) => this.#onStoreProblem(trouble),
    });
  }

  #newPacer(): Pacer {
    return new Pacer({ perSecondMax: this.#options.reconnectsPerSecondMax });
  }

  #publish(assignment: Assignment): void {
    const before = this.#current;
    if (comparePositions(assignment.position, before?.position ?? ORIGIN) <= 0) return;
    this.#current = assignment;
    const { position, edges, moves } = assignment;
    const ids = edges.map((edge) => edge.id);
    this.#log.info({ position, edges: ids, moves: moves.length }, 'assignment');
    for (const change of changesBetween(before, assignment)) this.#record(change);
    for (const watcher of this.#watchers) watcher(assignment);
  }

  /** Says once per trouble what it is; the last good assignment stays in force. */
  #onStoreProblem(trouble: StoreProblem | undefined): void {
    if (trouble?.type === this.#trouble?.type) return;
    this.#trouble = trouble;
    if (trouble === undefined) {
      this.#log.info('the stored assignment is in order');
      return;
    }
    const level = trouble.type === 'garbage' ? 'error' : 'warn';
    this.#log[level](trouble, 'the stored assignment cannot be used, keeping the last one');
    if (trouble.type === 'garbage')
      this.#record({ type: 'assignment-invalid', reason: trouble.reason });
  }

  #recordOperator(action: OperatorEntry['action'], edgeId: string, by: Audit): void {
    this.#record({ type: 'operator', action, edgeId, ...by });
    this.#log.info({ action, edgeId, ...by }, 'an operator has asked for it');
  }

  #record(entry: LogEntry): void {
    this.#events.append(nowMs(), this.#current?.position ?? ORIGIN, entry);
  }

  #notLeader(): Rejection {
    if (this.#leader.type !== 'other') return notLeader('');
    const { id, url } = this.#leader.control;
    return notLeader(`${id} at ${url}`);
  }

  #measure(): void {
    const { metrics } = this.#options;
    metrics.gauge(
      'longline_control_assignment_epoch',
      'Epoch of the newest assignment.',
      () => this.#current?.position.epoch ?? 0,
    );
    metrics.gauge('longline_control_shards_unowned', 'Shards without an owner.', () =>
      this.#current === undefined
        ? this.#options.shardCount
        : this.#current.owners.filter((owner) => owner >= this.#current!.edges.length).length,
    );
    metrics.gauge('longline_control_leader', '1 while this control leads.', () =>
      this.#term === undefined ? 0 : 1,
    );
    metrics.gauge(
      'longline_control_moves_in_flight',
      'Shards that are on their way from one edge to another.',
      () => this.#current?.moves.length ?? 0,
    );
    metrics.gauge(
      'longline_control_moves_pending',
      'Moves that are planned and not begun.',
      () => this.#term?.planner.queue.length ?? 0,
    );
    metrics.gauge(
      'longline_control_goaways_per_second',
      'Clients that edges are told to let go, per second.',
      () => this.#pace.perSecond,
    );
    metrics.gauge(
      'longline_control_frozen',
      '1 while most edges have vanished at once and nothing is decided.',
      () => (this.#term?.members.frozenUntilMs === undefined ? 0 : 1),
    );
  }
}

function createCounters(metrics: Metrics): LeadershipTermCounters {
  return {
    replans: metrics.counter('longline_control_replans_total', 'Assignments planned and written.'),
    casLost: metrics.counter(
      'longline_control_write_conflicts_total',
      'Assignments not written because another control was faster.',
    ),
    garbageReads: metrics.counter(
      'longline_control_invalid_assignments_total',
      'Times that the stored assignment could not be understood.',
    ),
  };
}
