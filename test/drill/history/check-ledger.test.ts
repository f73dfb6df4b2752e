import { expect, test } from '@jest/globals';
import { check } from '../../../drill/history/check.js';
import type { History, LedgerRecord } from '../../../drill/history/history.js';
import {
  attempt,
  connection,
  disturbance,
  history,
  live,
  push,
  receipt,
} from './history-builder.js';

const good: LedgerRecord = {
  accepted: 3,
  waiting: 1,
  confirmed: 2,
  dropped: 0,
  lost: 0,
  before: 0,
  differences: [],
};

/**
 * Two pushes that were accepted, one that may have been, one that was rejected, and a live-only
 * one.
 */
const parts: Partial<History> = {
  pushes: [
    push(1, [attempt('WRITTEN', '5-0')]),
    push(2, [attempt('UNANSWERED'), attempt('DUPLICATE', '6-0', 10_200)]),
    push(3, [attempt('UNANSWERED')]),
    push(4, [attempt('REJECTED')]),
    live(5, [attempt('OFFLINE')]),
  ],
  connections: [connection([receipt(1, '5-0'), receipt(2, '6-0', 10_300)])],
};

const findingsOf = (changes: Partial<LedgerRecord>, more: Partial<History> = {}) =>
  check(history({ ...parts, ...more, ledger: { ...good, ...changes } }))
    .filter((finding) => finding.check === 'falseLedger')
    .map(({ message }) => message);

test.each<[string, Partial<LedgerRecord>]>([
  ['all that may have been accepted', {}],
  ['only what certainly was', { accepted: 2, waiting: 0 }],
  ['fewer confirmations', { confirmed: 0, waiting: 3 }],
  ['pushes that were replaced', { confirmed: 1, dropped: 1 }],
])('a ledger may have %s', (_, changes) => {
  expect(findingsOf(changes)).toEqual([]);
});

test.each<[string, Partial<LedgerRecord>]>([
  ['does not add up', { waiting: 0 }],
  ['hides a push', { accepted: 1, waiting: 0, confirmed: 1 }],
  ['has a push that was never sent', { accepted: 4, waiting: 2 }],
  ['confirms what no device has received', { waiting: 0, confirmed: 3 }],
  ['has pushes from before', { before: 1 }],
  ['found a difference', { differences: ['missing: 1 pushes of shard 5'] }],
])('a ledger that %s is false', (_, changes) => {
  expect(findingsOf(changes)).toHaveLength(1);
});

test('after a loss, the ledger and the answers may differ', () => {
  const levels = ['accepted'] as const;
  const loss = { levels, fromMs: 10_000, toMs: 15_000 };
  const disturbances = [{ ...disturbance(10_100, 15_000), loss }];
  expect(findingsOf({ accepted: 1 }, { disturbances })).toEqual([]);
});
