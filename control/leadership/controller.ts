/**
 * The controller: the newest assignment, the sessions of edges and the event log of one control,
 * whether it leads or not. While it leads, a `LeadershipTerm` does the work. While another control
 * leads, it follows the stored assignment and the stored events, so that routers and operators can
 * watch any control.
 */

import type { Counter } from 'prom-client';
import type { Assignment } from '../../common/cluster/assignment.js';
import { readAssignment, type StoredAssignment } from '../../common/cluster/assignment-store.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Logger } from '../../common/process/log.js';
import type { Metrics } from '../../common/process/metrics.js';
import { READY, type Readiness } from '../../common/process/readiness.js';
import { unixMs } from '../../common/process/time/clock.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { comparePositions, ORIGIN, type Position } from '../../common/wire/position.js';
import type { RouterLoad } from '../../proto/gen/longline/v1/assignment.js';
import { Ledger } from '../ledger/ledger.js';
import type { EdgeRecord, HelloEdge } from '../membership/edge-record.js';
import type { Session } from '../membership/membership-driver.js';
import { ClusterPace, type DrainLimits, type EdgePace } from '../pace/cluster-pace.js';
import type { Pace } from '../pace/pace.js';
import { donorsAmong, receiversAmong } from '../pace/pace-inputs.js';
import { OwnerVersions } from '../placement/owner-versions.js';
import { changesBetween } from './changes.js';
import { ClusterLogger } from './cluster-logger.js';
import type { EventLog } from './event-log.js';
import { EventRecorder } from './event-recorder.js';
import type { Leader } from './leadership.js';
import {
  createTermCounters,
  LeadershipTerm,
  type LeadershipTermCounters,
  type StoreProblem,
} from './leadership-term.js';
import { LoadHistory } from './load-history.js';
import type { LogEntry } from './operations.js';
import { type EdgeProcess, SuspectEdges } from './suspect-edges.js';

const TICK_MS = 1_000;

export interface ControllerOptions {
  readonly link: Pick<RedisLink, 'commands' | 'names'>;
  readonly controlId: string;
  readonly shardCount: number;
  readonly leaseMs: number;
  /** Reconnects per second that the cluster can bear when shards move. */
  readonly reconnectsPerSecondMax: number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class Controller {
  readonly suspects = new SuspectEdges();
  readonly #options: ControllerOptions;
  readonly #log: Logger;
  readonly #counters: LeadershipTermCounters;
  readonly #recorder: EventRecorder;
  readonly #clusterLogger: ClusterLogger;
  readonly #events: Counter;
  readonly #watchers = new Set<(assignment: Assignment) => void>();
  readonly #pace: ClusterPace;
  readonly #ownerVersions: OwnerVersions;
  readonly #ticking: NodeJS.Timeout;
  #leader: Leader = { type: 'none' };
  #history = new LoadHistory(performance.now());
  #ledger: Ledger | undefined;
  #term: LeadershipTerm | undefined;
  #current: Assignment | undefined;
  /** The stored assignment, as it was read last while another control leads. */
  #followed: StoredAssignment | undefined;
  #wasFrozen = false;
  #partitionedBefore: ReadonlySet<string> = new Set();
  #storeProblem: StoreProblem | undefined = { type: 'unavailable', reason: 'it was not read yet' };

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#counters = createTermCounters(options.metrics);
    this.#clusterLogger = new ClusterLogger(options.log);
    this.#recorder = new EventRecorder(options.link, options.log, options.metrics);
    this.#events = options.metrics.counter(
      'longline_control_events_total',
      'Events of the log, counted by the leader',
    );
    this.#pace = new ClusterPace(options.reconnectsPerSecondMax);
    this.#ownerVersions = new OwnerVersions(options.shardCount);
    this.#ticking = setInterval(() => void this.#tick(), TICK_MS);
    this.#recorder.tick();
    void this.#follow();
  }

  get current(): Assignment | undefined {
    return this.#current;
  }

  /** Undefined while this control does not lead. */
  get term(): LeadershipTerm | undefined {
    return this.#term;
  }

  /** Empty while this control does not lead: edges have sessions with the leader only. */
  get edges(): readonly EdgeRecord[] {
    return this.#term?.membership.edges ?? [];
  }

  /** By shard, the version in which it got its owner. Undefined: before this control started. */
  get ownedSince(): readonly (Position | undefined)[] {
    return this.#ownerVersions.ownedSince;
  }

  get leader(): Leader {
    return this.#leader;
  }

  get events(): EventLog {
    return this.#recorder.log;
  }

  /** Starts or ends a term. */
  setLeader(leader: Leader): void {
    this.#leader = leader;
    this.#pace.reset();
    this.#history = new LoadHistory(performance.now());
    this.#term?.close();
    this.#term?.membership.close(this.rejectAsFollower());
    this.suspects.update([]);
    this.#term = leader.type === 'self' ? this.#newTerm() : undefined;
    const { shardCount } = this.#options;
    this.#ledger = leader.type === 'self' ? new Ledger(shardCount, performance.now()) : undefined;
    if (leader.type !== 'self') return this.#recorder.follow();
    this.#recorder.lead();
    this.record({ type: 'leader-changed', controlId: this.#options.controlId });
  }

  /** Calls `onChange` with the current assignment, if any, and then with every newer one. */
  watch(onChange: (assignment: Assignment) => void): () => void {
    this.#watchers.add(onChange);
    if (this.#current !== undefined) onChange(this.#current);
    return () => this.#watchers.delete(onChange);
  }

  /** @param end called when the session must end although its stream is open */
  openSession(
    edge: HelloEdge,
    have: Position,
    end: (reason: Rejection) => void,
  ): Session | Rejection {
    return this.#term?.membership.open(edge, have, end) ?? this.rejectAsFollower();
  }

  /** A router reports that an edge's device port is closed. */
  onClosedPortReported({ id, incarnation }: EdgeProcess): Rejection | undefined {
    if (this.#term === undefined) return this.rejectAsFollower();
    this.#term.membership.closedPortReported(id, incarnation);
    return undefined;
  }

  /** Empty while this control does not lead. */
  get history(): LoadHistory {
    return this.#history;
  }

  /** Undefined while this control does not lead. */
  get ledger(): Ledger | undefined {
    return this.#ledger;
  }

  onRouterLoad(load: RouterLoad): Rejection | undefined {
    if (this.#term === undefined) return this.rejectAsFollower();
    this.#history.onRouter(load, performance.now());
    this.#ledger?.onRouter(load.incarnation, load.stored, performance.now());
    return undefined;
  }

  get pace(): Pace {
    return this.#pace.current;
  }

  paceOf(edgeId: string): EdgePace {
    const isDraining = () =>
      this.#current?.edges.find(({ id }) => id === edgeId)?.intent === 'draining';
    return this.#pace.ofEdge(edgeId, isDraining);
  }

  setDrainLimits(edgeId: string, limits: DrainLimits): void {
    this.#pace.setDrainLimits(edgeId, limits);
  }

  /** Appends an entry to the event log of the cluster, if this control leads. */
  record(entry: LogEntry): void {
    this.#history.onEvent();
    if (this.#term !== undefined) this.#events.inc();
    this.#recorder.record(unixMs(), this.#current?.position ?? ORIGIN, entry);
  }

  /** The rejection of requests that only the leader can handle. */
  rejectAsFollower(): Rejection {
    if (this.#leader.type !== 'other') {
      return rejection('NOT_LEADER', 'no control leads at the moment; try again');
    }
    const { id, url } = this.#leader.control;
    return rejection('NOT_LEADER', `${id} at ${url} leads`);
  }

  /**
   * Ready while only the master with the stored assignment is unavailable: the assignment cannot
   * change then, but routers and operators can still read the last one here.
   */
  readiness(): Readiness {
    if (this.#storeProblem === undefined) return READY;
    const { type, reason } = this.#storeProblem;
    const reasons = [`the stored assignment is ${type}: ${reason}`];
    return type === 'unavailable' && this.#current !== undefined
      ? { notReady: [], degraded: reasons }
      : { notReady: reasons, degraded: [] };
  }

  /** Resolves when the events are stored, or Redis has failed to. */
  async close(): Promise<void> {
    clearInterval(this.#ticking);
    this.#term?.close();
    await this.#recorder.flush();
  }

  async #tick(): Promise<void> {
    this.#recorder.tick();
    this.#clusterLogger.tick(performance.now(), this.#current?.moves.length ?? 0);
    if (this.#term === undefined) return this.#follow();
    const { membership, planner } = this.#term;
    this.#history.tick(membership.edges, performance.now());
    this.#recordFreeze(membership.frozenUntilMs !== undefined);
    this.#recordPartitioned(membership.partitionedEdges);
    // A pause holds moves back, but an edge that is shutting down has to empty anyway.
    const mayDonate = ({ counts }: EdgeRecord) =>
      !planner.isPaused || counts?.shuttingDown === true;
    const donors = donorsAmong(membership.edges.filter(mayDonate));
    this.#pace.update(performance.now(), donors, receiversAmong(this.#current, membership.edges));
  }

  #recordFreeze(isFrozen: boolean): void {
    if (isFrozen === this.#wasFrozen) return;
    this.#wasFrozen = isFrozen;
    this.record({ type: isFrozen ? 'frozen' : 'unfrozen' });
    if (isFrozen) this.#log.warn('most edges vanished at once, nothing is decided meanwhile');
    else this.#log.info('decisions resume after the freeze');
  }

  #recordPartitioned(partitioned: ReadonlySet<string>): void {
    const before = this.#partitionedBefore;
    this.#partitionedBefore = partitioned;
    for (const edgeId of partitioned) {
      if (before.has(edgeId)) continue;
      this.record({ type: 'edge-partitioned', edgeId });
      this.#log.warn(
        { edgeId },
        `edge ${edgeId} receives no pushes for longer than a lease, its shards move`,
      );
    }
    for (const edgeId of before) {
      if (!partitioned.has(edgeId)) this.record({ type: 'edge-recovered', edgeId });
    }
  }

  /** Reads the assignment that another control has written. */
  async #follow(): Promise<void> {
    const { link, shardCount } = this.#options;
    const result = await readAssignment(link, shardCount, this.#followed);
    if (this.#term !== undefined) return;
    this.#followed = result.type === 'assignment' ? result : undefined;
    if (result.type === 'assignment') this.#publish(result.assignment, false);
    const { type } = result;
    if (type === 'none' || type === 'assignment') this.#setStoreProblem(undefined);
    // The leader replaces a corrupt one.
    else this.#setStoreProblem({ ...result, type: type === 'corrupt' ? 'invalid' : type });
  }

  #newTerm(): LeadershipTerm {
    const { link, shardCount, leaseMs } = this.#options;
    return new LeadershipTerm({
      link,
      shardCount,
      leaseMs,
      log: this.#log,
      counters: this.#counters,
      onEdges: (edges) => {
        this.suspects.update(edges);
        this.#clusterLogger.onEdges(performance.now(), edges);
      },
      lastKnown: () => this.#current,
      onAssignment: (assignment, isOwn) => this.#publish(assignment, isOwn),
      onStoreProblem: (problem) => this.#setStoreProblem(problem),
    });
  }

  /** @param isOwn whether this control has written it */
  #publish(assignment: Assignment, isOwn: boolean): void {
    const before = this.#current;
    if (comparePositions(assignment.position, before?.position ?? ORIGIN) <= 0) return;
    this.#current = assignment;
    const changes = changesBetween(before, assignment);
    this.#clusterLogger.onAssignment(assignment, changes);
    // The first assignment that a control reads is no change: its events are stored.
    if (before !== undefined || isOwn) {
      this.#ownerVersions.onAssignment(before, assignment);
      for (const change of changes) this.record(change);
    }
    for (const watcher of this.#watchers) watcher(assignment);
  }

  /** Logs each problem once; the last valid assignment stays in force. */
  #setStoreProblem(problem: StoreProblem | undefined): void {
    if (problem?.type === this.#storeProblem?.type) return;
    this.#storeProblem = problem;
    if (problem === undefined) {
      this.#log.info('the stored assignment is valid');
      return;
    }
    const level = problem.type === 'invalid' ? 'error' : 'warn';
    this.#log[level](problem, 'the stored assignment cannot be used, keeping the last one');
    if (problem.type === 'invalid') {
      this.record({ type: 'assignment-invalid', reason: problem.reason });
    }
  }
}
