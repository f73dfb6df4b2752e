/** The ledger, as the operator API returns it. */
import { z } from 'zod';
import { CAUSES } from '../../common/cluster/ledger/left.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { quantile } from '../leadership/load-history.js';
import { DIFFERENCES } from '../ledger/described.js';
import type { DifferenceKind, Ledger } from '../ledger/ledger.js';
import { count } from './cluster-responses.js';

const columns = {
  accepted: count.describe('The sum of all that follow, but `before`.'),
  waiting: count.describe('In an inbox. Expired ones leave it at the next audit.'),
  confirmed: count.describe('The device has named this push or a later one.'),
  expired: count.describe('The TTL has passed.'),
  evicted: count.describe('The inbox was full.'),
  collapsed: count.describe('A later push with the same collapse key took their place.'),
  skipped: count.describe('The device cannot receive them.'),
  lost: z
    .int()
    .describe('Must be 0. Redis has lost them, or they are in no column; negative: in two.'),
  before: count.describe('Stored before the first audit, by a version without a ledger.'),
};

const share = z.number().nullable().describe('Null: none has left.');

export const ledgerResponse = z
  .object({
    sinceMs: count.nullable().describe('Unix time of the first audit. Null: there was none.'),
    ...columns,
    shares: z
      .object({
        confirmed: share,
        expired: share,
        evicted: share,
        collapsed: share,
        skipped: share,
      })
      .describe('Of the pushes that have left their inbox.'),
    confirmations: z
      .object({
        p50Ms: z.number().nullable(),
        p99Ms: z.number().nullable(),
        upToMs: z.array(z.number().nullable()).describe('Upper bounds, ascending. Null: none.'),
        counts: z.array(count).describe('Confirmations by these bounds.'),
      })
      .describe(
        'Time from storing a push to its confirmation, of the newest push of each confirmation, since the ' +
          'edges that report have started.',
      ),
    differences: z
      .array(
        z.object({
          kind: z.enum(Object.keys(DIFFERENCES) as DifferenceKind[]),
          shard: count,
          pushes: z.int(),
          ageMs: count.describe('Milliseconds since it was found last.'),
        }),
      )
      .describe(
        `Found in the last 15 minutes; empty: the ledger balances. Pushes that, by kind, ${Object.entries(
          DIFFERENCES,
        )
          .map(([kind, meaning]) => `${kind}: ${meaning}`)
          .join('; ')}.`,
      ),
    shardsLate: count.describe('Shards without an audit in the last minute.'),
    shardsUncounted: count.describe('Shards with too many inboxes to count what waits.'),
    routers: count.describe('Routers with whose counters Redis is compared.'),
    edges: count.describe('Edges with whose counters Redis is compared.'),
  })
  .describe('What has become of all durable pushes.');

export const shardLedgersResponse = z.object({
  shards: z
    .array(z.object({ shard: count, ...columns }))
    .describe('Only shards that were pushed to.'),
});

export type LedgerResponse = z.infer<typeof ledgerResponse>;
export type ShardLedgersResponse = z.infer<typeof shardLedgersResponse>;

export class LedgerApi {
  /** @param ledger undefined while this control does not lead */
  constructor(readonly ledger: () => Ledger | undefined) {}

  total(nowMs = performance.now()): LedgerResponse | Rejection {
    const ledger = this.ledger();
    if (ledger === undefined) return notLeading();
    const total = ledger.total();
    const left = CAUSES.reduce((sum, cause) => sum + total[cause], 0);
    const shareOf = (pushes: number) => (left === 0 ? null : pushes / left);
    const latencies = ledger.latencies();
    const msOf = (seconds: number | undefined) =>
      seconds === undefined ? null : Math.round(seconds * 1_000);
    const bounds = [...latencies.keys()].sort((a, b) => a - b);
    return {
      sinceMs: ledger.sinceMs ?? null,
      ...total,
      shares: {
        confirmed: shareOf(total.confirmed),
        expired: shareOf(total.expired),
        evicted: shareOf(total.evicted),
        collapsed: shareOf(total.collapsed),
        skipped: shareOf(total.skipped),
      },
      confirmations: {
        p50Ms: msOf(quantile(latencies, 0.5)),
        p99Ms: msOf(quantile(latencies, 0.99)),
        upToMs: bounds.map((bound) => (Number.isFinite(bound) ? bound * 1_000 : null)),
        counts: bounds.map((bound) => latencies.get(bound)!),
      },
      differences: ledger.differences.map(({ kind, shard, pushes, foundAtMs }) => ({
        kind,
        shard,
        pushes,
        ageMs: Math.max(0, Math.round(nowMs - foundAtMs)),
      })),
      shardsLate: ledger.lateCount(nowMs),
      shardsUncounted: ledger.uncountedCount,
      routers: ledger.routerCount,
      edges: ledger.edgeCount,
    };
  }

  shards(): ShardLedgersResponse | Rejection {
    const ledger = this.ledger();
    if (ledger === undefined) return notLeading();
    const shards: ShardLedgersResponse['shards'] = [];
    for (let shard = 0; shard < ledger.shardCount; shard++) {
      const found = ledger.shard(shard);
      if (found !== undefined) shards.push({ shard, ...found });
    }
    return { shards };
  }
}

function notLeading(): Rejection {
  return rejection('NOT_LEADER', 'no control leads at the moment, and the leader has the ledger');
}
