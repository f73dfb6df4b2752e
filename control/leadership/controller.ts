/**
 * What a control is to everybody else, whether it leads or not: the newest assignment, the edges'
 * sessions, and what operators steer. While it leads, a `Term` does the work; while another does, it
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
import { type Refusal, refusal } from '../../common/process/errors.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { notLeader, nowMs, type Session } from '../membership/members.js';
import type { EdgeRecord, HelloEdge } from '../membership/membership.js';
import type {
  Audit,
  DrainOptions,
  LogEntry,
  LoggedEvent,
  MovesInfo,
  OperatorEntry,
  PlanInfo,
  Steering,
} from '../operator/operations.js';
import { drainProgress } from '../pace/drain-progress.js';
import { donorsAmong, receiversAmong } from '../pace/goaway-pace.js';
import { type Pace, Pacer } from '../pace/pace.js';
import { summarize } from '../planning/plan-summary.js';
import { changesBetween } from './changes.js';
import { EventLog } from './event-log.js';
import type { Leader } from './leadership.js';
import { movesInFlightMax, Term, type TermCounters, type Trouble } from './leadership-term.js';

const SECOND_MS = 1_000;
/** Proof, two reports and the linger of the edge that hands over. */
const MOVE_SECONDS_MIN = 15;

export interface DirectorOptions {
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

const NO_PACE: Pace = { perSecond: 0, byEdge: new Map(), secondsLeft: 0, why: 'nothing-to-do' };

export class Director implements Steering {
  readonly #options: DirectorOptions;
  readonly #log: Logger;
  readonly #counters: TermCounters;
  readonly #events = new EventLog();
  readonly #watchers = new Set<(assignment: Assignment) => void>();
  readonly #drains = new Map<string, DrainWish>();
  readonly #everySecond: NodeJS.Timeout;
  #leader: Leader = { type: 'nobody' };
  #term: Term | undefined;
  #current: Assignment | undefined;
  #pacer: Pacer;
  #pace = NO_PACE;
  #wasFrozen = false;
  #wereCutOff: ReadonlySet<string> = new Set();
  #trouble: Trouble | undefined = { type: 'unavailable', reason: 'it has not been read yet' };

  constructor(options: DirectorOptions) {
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

  open(edge: HelloEdge, have: Position, end: (why: Refusal) => void): Session | Refusal {
    return this.#term?.members.open(edge, have, end) ?? this.#notLeader();
  }

  /** For the event log: what an edge, or what calls itself one, was not believed. */
  rejected(entry: Extract<LogEntry, { type: 'edge-refused' | 'report-rejected' }>): void {
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

  notReadyBecause(): string[] {
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
    const { perSecond, why, secondsLeft } = this.#pace;
    return {
      inFlight: moves.map((move) => ({ ...move, clientsLeft: clientsOn(move.from, move.shard) })),
      waiting: this.#term?.planner.queue.length ?? 0,
      isPaused: this.#term?.planner.isPaused ?? false,
      frozenUntilMs: this.#term?.members.frozenUntilMs,
      perSecond,
      why,
      secondsLeft: Number.isFinite(secondsLeft) ? secondsLeft : undefined,
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

  plan(): PlanInfo | Refusal {
    if (this.#term === undefined) return this.#notLeader();
    const plan = this.#term.planner.preview(nowMs());
    if (plan === undefined) return refusal('NOT_READY', 'there is no assignment yet');
    const summary = summarize(plan, {
      perSecond: this.#options.reconnectsPerSecondMax,
      movesInFlightMax: movesInFlightMax(this.#options.shardCount),
      moveSecondsMin: MOVE_SECONDS_MIN,
    });
    return { ...summary, on: plan.on };
  }

  rebalance(on: Position | undefined, by: Audit): PlanInfo | Refusal {
    if (this.#term === undefined) return this.#notLeader();
    const { planner } = this.#term;
    const info = this.plan();
    const plan = planner.preview(nowMs());
    if ('code' in info || plan === undefined) return info;
    const refused = planner.refusePlan(on === undefined ? plan : { ...plan, on });
    if (refused !== undefined) return refused;
    this.#recordOperator('rebalance', '', by);
    this.#term.tell({ type: 'apply', plan });
    return info;
  }

  pause(by: Audit): Refusal | undefined {
    return this.#command('pause', by);
  }

  resume(by: Audit): Refusal | undefined {
    return this.#command('resume', by);
  }

  abort(by: Audit): Refusal | undefined {
    return this.#command('abort', by);
  }

  setIntent(
    edgeId: string,
    intent: Intent,
    { isForced, perSecondMax, deadlineMs }: DrainOptions & { readonly isForced: boolean },
    by: Audit,
  ): Refusal | undefined {
    if (this.#term === undefined) return this.#notLeader();
    const refused = this.#term.planner.refuseIntent(edgeId, intent, isForced);
    if (refused !== undefined) return refused;
    const did = { none: 'undrain', cordoned: 'cordon', draining: 'drain' } as const;
    this.#recordOperator(did[intent], edgeId, by);
    this.#drains.set(edgeId, {
      perSecondMax: perSecondMax ?? Number.POSITIVE_INFINITY,
      untilMs: deadlineMs === undefined ? undefined : Math.round(nowMs() + deadlineMs),
    });
    this.#term.tell({ type: 'intent', edgeId, intent });
    return undefined;
  }

  believe(by: Audit): Refusal | undefined {
    if (this.#term === undefined) return this.#notLeader();
    this.#recordOperator('believe', '', by);
    this.#term.members.believe();
    return undefined;
  }

  eventsAfter(after: number): readonly LoggedEvent[] {
    return this.#events.after(after);
  }

  watchEvents(onEvent: (event: LoggedEvent) => void): () => void {
    return this.#events.watch(onEvent);
  }

  #command(did: 'pause' | 'resume' | 'abort', by: Audit): Refusal | undefined {
    if (this.#term === undefined) return this.#notLeader();
    this.#recordOperator(did, '', by);
    this.#term.tell({ type: did });
    return undefined;
  }

  async #tick(): Promise<void> {
    if (this.#term === undefined) return this.#follow();
    const { members, planner } = this.#term;
    const isFrozen = members.frozenUntilMs !== undefined;
    if (isFrozen !== this.#wasFrozen) this.#record({ type: isFrozen ? 'frozen' : 'unfrozen' });
    this.#wasFrozen = isFrozen;
    this.#recordCutOff(members.cutOff);
    // Whoever was told to end has to, whatever else is held back.
    const isHeld = (edge: EdgeRecord) => planner.isPaused && edge.counts?.leaving !== true;
    const donors = donorsAmong(members.edges.filter((edge) => !isHeld(edge)));
    this.#pace = this.#pacer.step(nowMs(), donors, receiversAmong(this.#current, members.edges));
  }

  #recordCutOff(areCutOff: ReadonlySet<string>): void {
    const before = this.#wereCutOff;
    this.#wereCutOff = areCutOff;
    for (const edgeId of areCutOff) {
      if (!before.has(edgeId)) this.#record({ type: 'edge-cut-off', edgeId });
    }
    for (const edgeId of before) {
      if (!areCutOff.has(edgeId)) this.#record({ type: 'edge-healed', edgeId });
    }
  }

  /** Reads what another control has written. */
  async #follow(): Promise<void> {
    const { link, shardCount } = this.#options;
    const result = await readAssignment(link.commands, shardCount);
    if (this.#term !== undefined) return;
    if (result.type === 'assignment') this.#publish(result.assignment);
    this.#onTrouble(
      result.type === 'garbage' || result.type === 'unavailable' ? result : undefined,
    );
  }

  #newTerm(): Term {
    const { link, shardCount, leaseMs } = this.#options;
    return new Term({
      link,
      shardCount,
      leaseMs,
      log: this.#log,
      counters: this.#counters,
      onAssignment: (assignment) => this.#publish(assignment),
      onTrouble: (trouble) => this.#onTrouble(trouble),
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
  #onTrouble(trouble: Trouble | undefined): void {
    if (trouble?.type === this.#trouble?.type) return;
    this.#trouble = trouble;
    if (trouble === undefined) {
      this.#log.info('the stored assignment is in order');
      return;
    }
    const level = trouble.type === 'garbage' ? 'error' : 'warn';
    this.#log[level](trouble, 'the stored assignment cannot be used, keeping the last one');
    if (trouble.type === 'garbage') this.#record({ type: 'table-garbage', reason: trouble.reason });
  }

  #recordOperator(did: OperatorEntry['did'], edgeId: string, by: Audit): void {
    this.#record({ type: 'operator', did, edgeId, ...by });
    this.#log.info({ did, edgeId, ...by }, 'an operator has asked for it');
  }

  #record(entry: LogEntry): void {
    this.#events.append(nowMs(), this.#current?.position ?? ORIGIN, entry);
  }

  #notLeader(): Refusal {
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
      'longline_control_moves_waiting',
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

function createCounters(metrics: Metrics): TermCounters {
  return {
    replans: metrics.counter('longline_control_replans_total', 'Assignments planned and written.'),
    casLost: metrics.counter(
      'longline_control_cas_lost_total',
      'Assignments not written because another control was faster.',
    ),
    garbageReads: metrics.counter(
      'longline_control_garbage_reads_total',
      'Times that the stored assignment could not be understood.',
    ),
  };
}
