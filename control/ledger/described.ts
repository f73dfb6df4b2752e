/** The differences of the ledger in words and as metrics. */
import type { Metrics } from '../../common/process/metrics.js';
import type { Difference, DifferenceKind, Ledger } from './ledger.js';

/** Each says something of a number of pushes. */
export const DIFFERENCES: Readonly<Record<DifferenceKind, string>> = {
  missing: 'left their inboxes without a cause, or twice',
  lost: 'were stored and Redis does not know them any more',
  unstored: 'are in Redis and no router has reported them',
  unconfirmed: 'were confirmed and Redis does not know that any more: they are delivered again',
  overconfirmed: 'are confirmed in Redis and no edge has reported that',
};

const KINDS = Object.keys(DIFFERENCES) as DifferenceKind[];
/** Maximum number of shards that are named. */
const SHARDS_MAX = 10;

/** A reason for /readyz for each kind of difference that was found in the last 15 minutes. */
export function ledgerReasons(ledger: Ledger | undefined): string[] {
  const all = ledger?.differences ?? [];
  return KINDS.flatMap((kind) => {
    const differences = all.filter((each) => each.kind === kind);
    if (differences.length === 0) return [];
    const shards = differences.map(({ shard }) => shard).sort((a, b) => a - b);
    const more = shards.length - SHARDS_MAX;
    const named = `${shards.slice(0, SHARDS_MAX).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
    return [`ledger: ${sumOf(differences)} durable pushes ${DIFFERENCES[kind]} (shards ${named})`];
  });
}

/** @param ledger undefined while this control does not lead */
export function addLedgerGauges(metrics: Metrics, ledger: () => Ledger | undefined): void {
  metrics.gauges(
    'longline_control_ledger_pushes',
    'Durable pushes by what has become of them, only on the leader; accepted is the sum of the others ' +
      'but before: those from before the first audit',
    'column',
    () => Object.entries(ledger()?.total() ?? {}),
  );
  metrics.gauges(
    'longline_control_ledger_difference',
    'Durable pushes for which the ledger does not balance, found in the last 15 minutes, by kind; only ' +
      'on the leader',
    'kind',
    () => {
      const found = ledger();
      if (found === undefined) return [];
      const of = (kind: DifferenceKind) => found.differences.filter((each) => each.kind === kind);
      return KINDS.map((kind) => [kind, sumOf(of(kind))]);
    },
  );
  metrics.gauge(
    'longline_control_ledger_shards_late',
    'Shards that the ledger has not audited in the last minute, only on the leader',
    () => ledger()?.lateCount(performance.now()),
  );
  metrics.gauge(
    'longline_control_ledger_shards_uncounted',
    'Shards with more than 5000 inboxes, in which what waits is not counted, only on the leader',
    () => ledger()?.uncountedCount,
  );
}

function sumOf(differences: readonly Difference[]): number {
  return differences.reduce((sum, { pushes }) => sum + Math.abs(pushes), 0);
}
