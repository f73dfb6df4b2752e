import { describe, expect, test } from '@jest/globals';
import { isFinalForPush, verdictOfLive } from '../../../common/cluster/push-outcomes.js';
import { Verdict } from '../../../proto/gen/longline/v1/push.js';
import { verdictOfDurable } from '../../../router/push/verdict.js';

const absent = { $case: 'absent', value: {} } as const;
const written = { $case: 'written', value: {} } as const;
const catchingUp = { $case: 'catchingUp', value: {} } as const;
const slow = { $case: 'slow', value: {} } as const;

describe('the verdict of a live push', () => {
  test.each([
    ['one edge wrote it', [absent, written], true, Verdict.VERDICT_WRITTEN],
    ['an edge wrote it, another never answered', [written], false, Verdict.VERDICT_WRITTEN],
    [
      'an old connection was slow, the newer one was written',
      [slow, written],
      true,
      Verdict.VERDICT_WRITTEN,
    ],
    ['the client was slow', [absent, slow], true, Verdict.VERDICT_SLOW],
    ['all edges report it absent', [absent, absent], true, Verdict.VERDICT_OFFLINE],
    ['not all edges have answered', [absent], false, Verdict.VERDICT_UNKNOWN],
    ['no edge has answered', [], false, Verdict.VERDICT_UNKNOWN],
  ])('when %s', (_condition, bodies, complete, verdict) => {
    expect(verdictOfLive({ bodies, complete })).toBe(verdict);
  });
});

describe('the verdict of a durable push', () => {
  test.each([
    ['one edge wrote it', [absent, written], true, Verdict.VERDICT_WRITTEN],
    ['an edge wrote it, Redis never answered', [written], false, Verdict.VERDICT_WRITTEN],
    ['the client was slow', [slow], true, Verdict.VERDICT_STORED],
    ['the client is catching up', [catchingUp], true, Verdict.VERDICT_STORED],
    ['the client is absent', [absent], true, Verdict.VERDICT_STORED],
    ['it is stored and no edge has answered', [], true, Verdict.VERDICT_STORED],
    ['Redis never answered, but an edge was notified', [absent], false, Verdict.VERDICT_STORED],
    ['no edge has answered', [], false, Verdict.VERDICT_UNKNOWN],
  ])('when %s', (_condition, bodies, isStored, verdict) => {
    expect(verdictOfDurable({ bodies }, isStored)).toBe(verdict);
  });
});

test('only a write is final before all edges have answered', () => {
  expect([absent, written, catchingUp, slow].map(isFinalForPush)).toEqual([
    false,
    true,
    false,
    false,
  ]);
});
