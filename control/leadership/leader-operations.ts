/** The operations of the operator API, performed by the leader's planner and membership. */

import type { Intent } from '../../common/cluster/assignment.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Logger } from '../../common/process/log.js';
import type { Position } from '../../common/wire/position.js';
import { nowMs } from '../membership/clock.js';
import { type DrainProgress, drainProgress } from '../pace/drain-progress.js';
import { summarize } from '../planning/plan-summary.js';
import type { Controller } from './controller.js';
import { movesInFlightMax } from './leadership-term.js';
import type {
  Audit,
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
    const { perSecond, reason, secondsRemaining } = pace;
    return {
      inFlight: (current?.moves ?? []).map((move) => ({
        ...move,
        clientsRemaining: clientsOn(move.from, move.shard),
      })),
      pending: term?.planner.queue.length ?? 0,
      isPaused: term?.planner.isPaused ?? false,
      frozenUntilMs: term?.membership.frozenUntilMs,
      perSecond,
      paceReason: reason,
      secondsRemaining: Number.isFinite(secondsRemaining) ? secondsRemaining : undefined,
      drains: this.#drains(),
    };
  }

  plan(): PlanInfo | Rejection {
    const { term } = this.controller;
    if (term === undefined) return this.controller.rejectAsFollower();
    const plan = term.planner.preview(nowMs());
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
    const plan = term.planner.preview(nowMs());
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
      untilMs: deadlineMs === undefined ? undefined : Math.round(nowMs() + deadlineMs),
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

  eventsAfter(after: number): readonly LoggedEvent[] {
    return this.controller.events.after(after);
  }

  watchEvents(onEvent: (event: LoggedEvent) => void): () => void {
    return this.controller.events.watch(onEvent);
  }

  #drains(): DrainProgress[] {
    const { current, edges } = this.controller;
    if (current === undefined) return [];
    const draining = current.edges.filter(({ intent }) => intent === 'draining');
    return draining.map(({ id }) => {
      const connections = edges.find((edge) => edge.id === id)?.counts?.connections;
      return drainProgress(current, id, connections, this.controller.paceOf(id).perSecond);
    });
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
