import { expect, test } from '@jest/globals';
import type { ShardAudit } from '../../../common/cluster/ledger/audit.js';
import { Metrics } from '../../../common/process/metrics.js';
import { addLedgerGauges, ledgerReasons } from '../../../control/ledger/described.js';
import { Ledger, SHOWN_MS } from '../../../control/ledger/ledger.js';
import { LedgerApi } from '../../../control/operator/ledger.js';

const auditOf = (changes: Partial<ShardAudit> = {}): ShardAudit => ({
  accepted: 10,
  confirmed: 4,
  expired: 1,
  evicted: 1,
  collapsed: 1,
  skipped: 1,
  waiting: 2,
  missing: 0,
  lost: 0,
  base: 0,
  sinceMs: 1_000,
  inboxes: 2,
  ...changes,
});

/** Audits a shard at a time in ms. Returns what is to be noted as lost. */
function audit(ledger: Ledger, shard: number, changes: Partial<ShardAudit>, atMs: number): number {
  return ledger.onAudit(shard, auditOf(changes), ledger.begin(shard, atMs), atMs);
}

test('the columns add up, also with what is lost or missing, and what could not be counted', () => {
  const ledger = new Ledger(8, 0);
  audit(ledger, 1, {}, 1);
  audit(ledger, 2, { accepted: 13, missing: 3, lost: 2, base: 5 }, 1);
  audit(ledger, 3, { waiting: undefined, inboxes: 5_001 }, 1);
  audit(ledger, 4, { accepted: 0, sinceMs: 0 }, 1);
  const { accepted, before, ...rest } = ledger.total();
  expect(accepted).toBe(10 + 15 + 10);
  expect(Object.values(rest).reduce((a, b) => a + b)).toBe(accepted);
  expect(rest).toMatchObject({ waiting: 6, lost: 5 });
  expect(before).toBe(5);
  expect(ledger.shard(4)).toBeUndefined();
  expect({ late: ledger.lateCount(1), uncounted: ledger.uncountedCount }).toEqual({
    late: 4,
    uncounted: 1,
  });
});

test('a difference is a reason with its shards, for a quarter of an hour', async () => {
  const ledger = new Ledger(4096, 0);
  for (const shard of [9, 5]) audit(ledger, shard, {}, 0);
  expect(ledgerReasons(ledger)).toEqual([]);
  audit(ledger, 9, { missing: 2 }, 10);
  audit(ledger, 5, { missing: -1 }, 10);
  audit(ledger, 9, { missing: 2 }, 20);
  const reason =
    'ledger: 3 durable pushes left their inboxes without a cause, or twice (shards 5, 9)';
  expect(ledgerReasons(ledger)).toEqual([reason]);
  const metrics = new Metrics();
  addLedgerGauges(metrics, () => ledger);
  expect(await metrics.registry.metrics()).toMatch(
    'longline_control_ledger_difference{kind="missing"} 3',
  );
  ledger.tick(10 + SHOWN_MS);
  expect(ledgerReasons(ledger)).toHaveLength(1);
  ledger.tick(11 + SHOWN_MS);
  expect(ledgerReasons(ledger)).toEqual([]);
});

test('a Redis that returned empty has lost what waited', () => {
  const ledger = new Ledger(8, 0);
  audit(ledger, 1, {}, 0);
  const emptied = { accepted: 1, confirmed: 0, waiting: 1, sinceMs: 2_000 };
  expect(audit(ledger, 1, emptied, 10)).toBe(2);
  expect(audit(ledger, 1, emptied, 20)).toBe(0);
  expect(ledger.differences).toEqual([{ kind: 'lost', shard: 1, pushes: 2, foundAtMs: 10 }]);
});

test('a Redis that has lost the ledger, but no push, has lost nothing', () => {
  const ledger = new Ledger(8, 0);
  audit(ledger, 1, {}, 0);
  const begun = { accepted: 1, base: 9, confirmed: 0, sinceMs: 2_000 };
  expect(audit(ledger, 1, begun, 10)).toBe(0);
  expect(audit(ledger, 1, { ...begun, accepted: 2 }, 20)).toBe(0);
  expect(ledger.differences).toEqual([]);
});

test('what waits in many inboxes is counted less often', () => {
  const ledger = new Ledger(8, 0);
  expect(ledger.isCountDue(1, 0)).toBe(true);
  audit(ledger, 1, { inboxes: 2_000 }, 0);
  expect(ledger.isCountDue(1, 1)).toBe(true);
  for (let shard = 2; shard < 8; shard++) audit(ledger, shard, { inboxes: 5_000 }, 0);
  ledger.tick(1_000);
  expect(ledger.isCountDue(1, 6_399)).toBe(false);
  expect(ledger.isCountDue(1, 6_400)).toBe(true);
  audit(ledger, 1, { waiting: undefined }, 6_300);
  expect(ledger.shard(1)).toMatchObject({ waiting: 2 });
  expect(ledger.isCountDue(1, 6_400)).toBe(true);
});

test('a process of an earlier version suspends what it cannot be compared with', () => {
  const ledger = new Ledger(8, 0);
  expect(ledger.isMixed(9_999)).toBe(true);
  expect(ledger.isMixed(10_000)).toBe(false);
  ledger.onEdge('e1', undefined, [], 20_000);
  expect(ledger.isMixed(79_999)).toBe(true);
  expect(ledger.isMixed(80_000)).toBe(false);
});

test('the API has shares, times to confirmation and differences', () => {
  const ledger = new Ledger(8, 0);
  const api = new LedgerApi(() => ledger);
  expect(api.total(1)).toMatchObject({ sinceMs: null, accepted: 0, shares: { confirmed: null } });
  audit(ledger, 1, { missing: 0 }, 0);
  audit(ledger, 1, { missing: 1, accepted: 11 }, 100);
  const confirmed = { shards: [1], pushes: [4], unanswered: 0 };
  ledger.onEdge(
    'e1',
    confirmed,
    [
      { seconds: 0.1, pushes: 4 },
      { seconds: Number.POSITIVE_INFINITY, pushes: 0 },
    ],
    100,
  );
  expect(api.total(150)).toMatchObject({
    accepted: 11,
    lost: 1,
    sinceMs: 1_000,
    shares: { confirmed: 0.5, expired: 0.125 },
    confirmations: { p50Ms: 50, p99Ms: 99, upToMs: [100, null], counts: [4, 0] },
    differences: [{ kind: 'missing', shard: 1, pushes: 1, ageMs: 50 }],
    edges: 1,
    routers: 0,
  });
  expect(api.shards()).toMatchObject({ shards: [{ shard: 1, accepted: 11, waiting: 2 }] });
  expect(new LedgerApi(() => undefined).total()).toMatchObject({ code: 'NOT_LEADER' });
});
