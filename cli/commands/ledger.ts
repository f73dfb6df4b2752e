/** `longline ledger`: what has become of all durable pushes, and whether all counters agree. */
import { controlApi, type LedgerResponse } from '../control/api.js';
import { plural, UNKNOWN } from './format.js';
import type { ControlOptions } from './status.js';
import { table } from './table.js';

const CAUSES = ['confirmed', 'expired', 'evicted', 'collapsed', 'skipped'] as const;
const COLUMNS = ['accepted', 'waiting', ...CAUSES, 'lost', 'before'] as const;

export interface LedgerOptions extends ControlOptions {
  readonly shards?: boolean;
}

/** @throws Failure when control rejects or cannot be reached */
export async function ledger(options: LedgerOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  if (options.shards) {
    const shards = await api.shardLedgers();
    const rows = shards.map((one) => [one.shard, ...COLUMNS.map((name) => one[name])]);
    return console.log(
      options.json ? JSON.stringify({ shards }) : table(['shard', ...COLUMNS], rows),
    );
  }
  const total = await api.ledger();
  console.log(options.json ? JSON.stringify(total) : describe(total));
}

function describe(total: LedgerResponse): string {
  const { shares, confirmations, differences, shardsLate, shardsUncounted } = total;
  const shareOf = (name: string) => {
    const share = (shares as Record<string, number | null>)[name];
    return share === null || share === undefined ? '' : `${(100 * share).toFixed(2)} %`;
  };
  const rows = COLUMNS.map((name) => [name, total[name], shareOf(name)]);
  const lines = [table(['pushes', 'number', 'share'], rows)];
  const { p50Ms, p99Ms } = confirmations;
  lines.push(`time to confirmation p50 ${ms(p50Ms)}, p99 ${ms(p99Ms)}`);
  if (shardsLate > 0) lines.push(`Not audited in the last minute: ${plural(shardsLate, 'shard')}`);
  if (shardsUncounted > 0)
    lines.push(`Too many inboxes to count: ${plural(shardsUncounted, 'shard')}`);
  lines.push(
    differences.length === 0
      ? `The ledger balances: Redis, ${plural(total.routers, 'router')} and ${plural(total.edges, 'edge')} agree.`
      : 'The ledger does not balance:',
  );
  if (differences.length > 0) {
    const found = differences.map(({ kind, shard, pushes, ageMs }) => [
      ...[kind, shard, pushes, `${Math.round(ageMs / 1_000)} s`],
    ]);
    lines.push(table(['difference', 'shard', 'pushes', 'found before'], found));
  }
  return lines.join('\n');
}

function ms(value: number | null): string {
  return value === null ? UNKNOWN : `${value} ms`;
}
