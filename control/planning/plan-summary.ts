/** Summary of a plan, which operators see before they apply it. Pure. */
import type { Plan, StepKind } from './plan.js';

export interface Transfer {
  readonly from: string;
  readonly to: string;
  readonly shards: readonly number[];
  readonly clients: number;
}

export interface PlanSummary {
  readonly shards: number;
  readonly clients: number;
  /** Clients by the reason of their move; only balancing is the rebalancer's own decision. */
  readonly churn: Readonly<Record<StepKind, number>>;
  /** Largest first. */
  readonly transfers: readonly Transfer[];
  readonly maxOverMean: Plan['maxOverMean'];
  readonly irreducible: readonly number[];
  /** Estimates for the given pace and limit of moves in flight. */
  readonly reconnectsPerSecond: number;
  readonly secondsRemaining: number;
}

export interface Expectation {
  /** Reconnects per second. */
  readonly perSecond: number;
  readonly movesInFlightMax: number;
  /** Shortest duration of a move, however few its clients: proof, reports, linger. */
  readonly moveSecondsMin: number;
}

export function summarize(plan: Plan, expected: Expectation): PlanSummary {
  const churn: Record<StepKind, number> = { removal: 0, addition: 0, balancing: 0 };
  const transfers = new Map<
    string,
    { from: string; to: string; shards: number[]; clients: number }
  >();
  let clients = 0;
  for (const { shard, from, to, kind, connections } of plan.steps) {
    churn[kind] += connections;
    clients += connections;
    const key = `${from} ${to}`;
    const transfer = transfers.get(key) ?? { from, to, shards: [], clients: 0 };
    transfer.shards.push(shard);
    transfer.clients += connections;
    transfers.set(key, transfer);
  }
  const rounds = Math.ceil(plan.steps.length / expected.movesInFlightMax);
  const secondsRemaining = Math.max(clients / expected.perSecond, rounds * expected.moveSecondsMin);
  return {
    shards: plan.steps.length,
    clients,
    churn,
    transfers: [...transfers.values()].sort((a, b) => b.clients - a.clients),
    maxOverMean: plan.maxOverMean,
    irreducible: plan.irreducible,
    reconnectsPerSecond: secondsRemaining === 0 ? 0 : clients / secondsRemaining,
    secondsRemaining,
  };
}
