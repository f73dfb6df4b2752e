import { describe, expect, test } from '@jest/globals';
import { Verdict } from '../../../proto/gen/longline/v1/push.js';
import { isFinalForPush, verdictOfDurable, verdictOfLive } from '../../../router/push/verdict.js';

const absent = { $case: 'absent', value: {} } as const;
const written = { $case: 'written', value: {} } as const;
const behind = { $case: 'catchingUp', value: {} } as const;
const slow = { $case: 'slow', value: {} } as const;

describe('the verdict of a live push', () => {
  test.each([
    ['one edge wrote it', [absent, written], true, Verdict.VERDICT_WRITTEN],
    ['an edge wrote it, another never answered', [written], false, Verdict.VERDICT_WRITTEN],
    [
      'an old connection was slow, the newer got it',
      [slow, written],
      true,
      Verdict.VERDICT_WRITTEN,
    ],
    ['the client was slow', [absent, slow], true, Verdict.VERDICT_SLOW],
    ['all say that it is not there', [absent, absent], true, Verdict.VERDICT_OFFLINE],
    ['not all have answered', [absent], false, Verdict.VERDICT_UNKNOWN],
    ['nobody has answered', [], false, Verdict.VERDICT_UNKNOWN],
  ])('when %s', (_what, bodies, complete, verdict) => {
    expect(verdictOfLive({ bodies, complete })).toBe(verdict);
  });
});

describe('the verdict of a durable push', () => {
  test.each([
    ['one edge wrote it', [absent, written], true, Verdict.VERDICT_WRITTEN],
    ['an edge wrote it, Redis never answered', [written], false, Verdict.VERDICT_WRITTEN],
    ['the client was slow', [slow], true, Verdict.VERDICT_STORED],
    ['the client is being told what is stored', [behind], true, Verdict.VERDICT_STORED],
    ['the client is not there', [absent], true, Verdict.VERDICT_STORED],
    ['it is stored and nobody has answered', [], true, Verdict.VERDICT_STORED],
    ['Redis never answered, but an edge heard the bell', [absent], false, Verdict.VERDICT_STORED],
    ['nobody has answered at all', [], false, Verdict.VERDICT_UNKNOWN],
  ])('when %s', (_what, bodies, isStored, verdict) => {
    expect(verdictOfDurable({ bodies, complete: false }, isStored)).toBe(verdict);
  });
});

test('only a write is final before all have answered', () => {
  expect([absent, written, behind, slow].map(isFinalForPush)).toEqual([false, true, false, false]);
});
