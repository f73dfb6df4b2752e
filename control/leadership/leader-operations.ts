/** The operations of the operator API, performed by the leader's planner and membership. */

import type { Assignment, Intent } from '../../common/cluster/assignment.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Logger } from '../../common/process/log.js';
import type { Position } from '../../common/wire/position.js';
import type { EdgeCounts } from '../membership/edge-record.js';
import { drainDelay, isHalted } from '../pace/drain-delay.js';
import { type DrainProgress, drainProgress, type ReturnedClients } from '../pace/drain-progress.js';
import { summarize } from '../planning/plan-summary.js';
import type { Controller } from './controller.js';
import { movesInFlightMax } from './leadership-term.js';
import type {
  Audit,
  ClientAction,
  IntentOptions,
  LoggedEvent,
  MovesInfo,
  Operations,
  OperatorEntry,
  PlanInfo,
} from './operations.js';

/** Shortest duration of a move: proof, two reports and the linger of the edge that hands over. */
const MOVE_SECONDS_MIN = 15;

export interface LeaderOperationsOptions {
  readonly shardCount: number;
  /** Reconnects per second that the cluster can bear when shards move. */
  readonly reconnectsPerSecondMax: number;
  readonly log: Logger;
}

export class LeaderOperations implements Operations {
  constructor(
    readonly controller: Controller,
    readonly options: LeaderOperationsOptions,
  ) {}

  moves(): MovesInfo {
    const { current, edges, pace, term } = this.controller;
    const countsOf = new Map(edges.map(({ id, counts }) => [id, counts]));
    const clientsOn = (edgeId: string, shard: number) => {
      const counts = countsOf.get(edgeId);
      return counts && (counts.shards.find((one) => one.shard === shard)?.connections ?? 0);
    };
    const { perSecond, reason } = pace;
    const pending = term?.planner.queue.length ?? 0;
    const frozenUntilMs = term?.membership.frozenUntilMs;
    return {
      inFlight: (current?.moves ?? []).map((move) => ({
        ...move,
        clientsRemaining: clientsOn(move.from, move.shard),
      })),
      pending,
      isPaused: term?.planner.isPaused ?? false,
      frozenRemainingMs: frozenUntilMs && Math.max(0, frozenUntilMs - performance.now()),
      perSecond,
      paceReason: reason,
      secondsRemaining: this.#secondsRemaining(pending),
      drains: this.#drains(),
    };
  }

  plan(): PlanInfo | Rejection {
    const { term } = this.controller;
    if (term === undefined) return this.controller.rejectAsFollower();
    const plan = term.planner.preview(performance.now());
    if (plan === undefined) {
      return rejection('NOT_READY', 'there is no assignment yet; start an edge');
    }
    const summary = summarize(plan, {
      perSecond: this.options.reconnectsPerSecondMax,
      movesInFlightMax: movesInFlightMax(this.options.shardCount),
      moveSecondsMin: MOVE_SECONDS_MIN,
    });
    return { ...summary, on: plan.on };
  }

  rebalance(on: Position | undefined, by: Audit): PlanInfo | Rejection {
    const { term } = this.controller;
    if (term === undefined) return this.controller.rejectAsFollower();
    const info = this.plan();
    const plan = term.planner.preview(performance.now());
    if ('code' in info || plan === undefined) return info;
    const rejected = term.planner.rejectPlan(on === undefined ? plan : { ...plan, on });
    if (rejected !== undefined) return rejected;
    this.#record('rebalance', '', by);
    term.handle({ type: 'apply', plan });
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
    { isForced, perSecondMax, deadlineMs }: IntentOptions,
    by: Audit,
  ): Rejection | undefined {
    const { term } = this.controller;
    if (term === undefined) return this.controller.rejectAsFollower();
    const rejected = term.planner.rejectIntent(edgeId, intent, isForced);
    if (rejected !== undefined) return rejected;
    const action = { none: 'undrain', cordoned: 'cordon', draining: 'drain' } as const;
    this.#record(action[intent], edgeId, by);
    this.controller.setDrainLimits(edgeId, {
      perSecondMax: perSecondMax ?? Number.POSITIVE_INFINITY,
      untilMs: deadlineMs === undefined ? undefined : performance.now() + deadlineMs,
    });
    term.handle({ type: 'intent', edgeId, intent });
    return undefined;
  }

  confirmLostEdges(by: Audit): Rejection | undefined {
    const { term } = this.controller;
    if (term === undefined) return this.controller.rejectAsFollower();
    this.#record('confirm-lost-edges', '', by);
    term.membership.confirmLostEdges();
    return undefined;
  }

  rejectAsFollower(): Rejection | undefined {
    return this.controller.term === undefined ? this.controller.rejectAsFollower() : undefined;
  }

  recordAction(
    action: ClientAction,
    clientId: string,
    { actor, reason }: Audit,
    detail?: string,
  ): void {
    this.options.log.info({ action, clientId, actor, reason, detail }, 'operator action');
    const entry = { type: 'operator', action, edgeId: '', clientId, actor, reason } as const;
    this.controller.record(detail === undefined ? entry : { ...entry, detail });
  }

  recordDisconnected(clients: number, state: string): void {
    this.options.log.info({ clients, state }, 'disconnect ended');
    this.controller.record({ type: 'clients-disconnected', clients, reason: state });
  }

  eventsAfter(after: number): readonly LoggedEvent[] {
    return this.controller.events.after(after);
  }

  watchEvents(onEvent: (event: LoggedEvent) => void): () => void {
    return this.controller.events.watch(onEvent);
  }

  /** Undefined while moves are due and no client is being moved: their end is unknown. */
  #secondsRemaining(pending: number): number | undefined {
    const { current, pace, term } = this.controller;
    const isHalted = term?.planner.isPaused || term?.membership.frozenUntilMs !== undefined;
    const hasMoves = pending > 0 || (current?.moves.length ?? 0) > 0;
    if (hasMoves && (isHalted || pace.reason === 'nothing-to-do')) return undefined;
    return Number.isFinite(pace.secondsRemaining) ? pace.secondsRemaining : undefined;
  }

  #drains(): DrainProgress[] {
    const { current } = this.controller;
    if (current === undefined) return [];
    const draining = current.edges.filter(({ intent }) => intent === 'draining');
    return draining.map(({ id }) => this.#drain(current, id));
  }

  #drain(current: Assignment, id: string): DrainProgress {
    const { edges, pace, term } = this.controller;
    const counts = edges.find((edge) => edge.id === id)?.counts;
    const { perSecond } = this.controller.paceOf(id);
    const progress = drainProgress(
      current,
      id,
      counts?.connections,
      perSecond,
      returnedClients(counts),
    );
    const delayedBy = drainDelay(progress, {
      isFrozen: term?.membership.frozenUntilMs !== undefined,
      isPaused: term?.planner.isPaused ?? false,
      isShuttingDown: counts?.shuttingDown ?? false,
      hasReceiver: current.edges.some(
        (other) => other.intent === 'none' && this.#isReady(other.id),
      ),
      paceReason: pace.reason,
    });
    const secondsRemaining = isHalted(delayedBy) ? undefined : progress.secondsRemaining;
    return { ...progress, delayedBy, secondsRemaining };
  }

  #isReady(edgeId: string): boolean {
    const { edges, term } = this.controller;
    const edge = edges.find(({ id }) => id === edgeId);
    return edge?.state.type === 'alive' && !term?.membership.partitionedEdges.has(edgeId);
  }

  #command(action: 'pause' | 'resume' | 'abort', by: Audit): Rejection | undefined {
    const { term } = this.controller;
    if (term === undefined) return this.controller.rejectAsFollower();
    this.#record(action, '', by);
    term.handle({ type: action });
    return undefined;
  }

  #record(action: OperatorEntry['action'], edgeId: string, by: Audit): void {
    this.controller.record({ type: 'operator', action, edgeId, ...by });
    this.options.log.info({ action, edgeId, ...by }, 'operator request');
  }
}

function returnedClients(counts: EdgeCounts | undefined): ReturnedClients | undefined {
  const { clientsReturned: clients = 0, clientsReturnedIds: clientIds = [] } = counts ?? {};
  return clients === 0 ? undefined : { clients, clientIds };
}
