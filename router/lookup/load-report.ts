/** The load that a router reports to control: totals since its start, read from its metrics. */
import type { Counter, Histogram } from 'prom-client';
import type { ShardTotals } from '../../common/cluster/ledger/shard-totals.js';
import type { RouterLoad, SlowPush } from '../../proto/gen/longline/v1/assignment.js';

interface Counted {
  readonly pushes: Counter<'verdict'>;
  /** Seconds until the verdict. */
  readonly seconds: Histogram;
  readonly stored: ShardTotals;
}

/** Properties that stay while the router runs. */
export type RouterIdentity = Pick<
  RouterLoad,
  'routerId' | 'incarnation' | 'version' | 'commit' | 'settings'
>;

export async function readLoad(
  { pushes, seconds, stored }: Counted,
  identity: RouterIdentity,
  slowPushes: SlowPush[],
): Promise<RouterLoad> {
  const [verdicts, latencies] = await Promise.all([pushes.get(), seconds.get()]);
  const buckets = latencies.values.filter(({ metricName }) => metricName?.endsWith('_bucket'));
  return {
    ...identity,
    stored: stored.read(),
    verdicts: verdicts.values
      .filter(({ value }) => value > 0)
      .map(({ labels, value }) => ({
        verdict: `${labels.verdict}`.replace('VERDICT_', ''),
        pushes: value,
      })),
    // Those of Prometheus also contain all smaller ones.
    latencies: buckets.map(({ labels: { le }, value }, i) => ({
      seconds: le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le),
      pushes: value - (buckets[i - 1]?.value ?? 0),
    })),
    slowPushes,
  };
}
