/** What an operator is shown of a plan before it is applied. Pure. */
import type { Kind, Plan } from './plan.js';

export interface Transfer {
  readonly from: string;
  readonly to: string;
  readonly shards: readonly number[];
  readonly clients: number;
}

export interface PlanSummary {
  readonly shards: number;
  readonly clients: number;
  /** Clients by what they are moved for; only balancing is the rebalancer's own doing. */
  readonly churn: Readonly<Record<Kind, number>>;
  /** Largest first. */
  readonly transfers: readonly Transfer[];
  readonly maxOverMean: Plan['maxOverMean'];
  readonly irreducible: readonly number[];
  /** Expected, at the given pace and with no more moves in flight than may be. */
  readonly reconnectsPerSecond: number;
  readonly secondsRemaining: number;
}

export interface Expectation {
  readonly perSecond: number;
  readonly movesInFlightMax: number;
  /** What a move takes at least, however few its clients: proof, reports, linger. */
  readonly moveSecondsMin: number;
}

export function summarize(plan: Plan, expected: Expectation): PlanSummary {
  const churn: Record<Kind, number> = { removal: 0, addition: 0, balancing: 0 };
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
