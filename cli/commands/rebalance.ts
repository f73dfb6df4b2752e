/** `longline rebalance`: shows the plan and carries it out. */
import { controlApi, type PlanResponse } from '../control/api.js';
import { eta, grouped, plural } from './format.js';
import { fetchMoves, stateLines } from './moves-state.js';
import type { ControlOptions } from './status.js';
import { table } from './table.js';

export interface RebalanceOptions extends ControlOptions {
  readonly dryRun?: boolean;
  readonly reason?: string;
}

const SHARDS_SHOWN_MAX = 8;

/** @throws Failure when control rejects or cannot be reached */
export async function rebalance(options: RebalanceOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const { dryRun, json, reason } = options;
  const plan = await api.plan();
  if (!json) console.log(describePlan(plan));
  // Control rejects it unless this is still the plan that was shown.
  const isApplied = !dryRun && plan.shards > 0;
  const applied = isApplied
    ? await api.rebalance({ on: plan.on, ...(reason !== undefined && { reason }) })
    : plan;
  const moves = isApplied ? await fetchMoves(api) : undefined;
  if (json) {
    const { paused, frozenUntilMs } = moves ?? {};
    console.log(JSON.stringify({ applied: isApplied, plan: applied, paused, frozenUntilMs }));
  } else if (isApplied) {
    const isHeld = moves !== undefined && (moves.paused || moves.frozenUntilMs !== null);
    const done = isHeld ? 'Accepted, but no move starts now' : 'Started';
    const lines = moves === undefined ? [] : stateLines(moves);
    console.log([`${done}; longline status --watch shows the progress`, ...lines].join('\n'));
  }
}

function describePlan(plan: PlanResponse): string {
  const { shards, clients, churn, maxOverMean, irreducible, on } = plan;
  const lines: string[] = [];
  if (shards === 0) lines.push('Nothing to move');
  else {
    const rows = plan.transfers.map((transfer) => [
      transfer.from,
      transfer.to,
      transfer.shards.length,
      transfer.clients,
      list(transfer.shards),
    ]);
    lines.push(
      table(['from', 'to', 'shards', 'clients', ''], rows),
      `${plural(shards, 'shard')} with ${plural(clients, 'client')} move: ` +
        `${grouped(churn.balancing)} to balance, ${grouped(churn.addition)} to new edges, ` +
        `${grouped(churn.removal)} from draining edges`,
      `${grouped(plan.reconnectsPerSecond)} reconnects/s expected, ${eta(plan.secondsRemaining)}`,
    );
  }
  const { before, after } = maxOverMean;
  lines.push(
    `max/mean ${before.toFixed(3)} → ${after.toFixed(3)} · assignment ${on.incarnation}.${on.epoch}`,
  );
  if (irreducible.length > 0) {
    lines.push(
      `Too large for any edge, not moved: ${plural(irreducible.length, 'shard')} ${list(irreducible)}`,
    );
  }
  return lines.join('\n');
}

function list(shards: readonly number[]): string {
  const more = shards.length - SHARDS_SHOWN_MAX;
  return shards.slice(0, SHARDS_SHOWN_MAX).join(' ') + (more > 0 ? ` and ${more} more` : '');
}
