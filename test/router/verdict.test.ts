import { expect, test } from '@jest/globals';
import { Verdict } from '../../proto/gen/longline/v1/push.js';
import { isFinalForPush, verdictOf } from '../../router/verdict.js';

const absent = { $case: 'absent', value: {} } as const;
const written = { $case: 'written', value: {} } as const;
const slow = { $case: 'slow', value: {} } as const;

test.each([
  ['one edge wrote it', [absent, written], true, Verdict.VERDICT_WRITTEN],
  ['an edge wrote it, another never answered', [written], false, Verdict.VERDICT_WRITTEN],
  ['an old connection was slow, the newer got it', [slow, written], true, Verdict.VERDICT_WRITTEN],
  ['the client was slow', [absent, slow], true, Verdict.VERDICT_SLOW],
  ['all say that it is not there', [absent, absent], true, Verdict.VERDICT_OFFLINE],
  ['not all have answered', [absent], false, Verdict.VERDICT_UNKNOWN],
  ['nobody has answered', [], false, Verdict.VERDICT_UNKNOWN],
])('when %s', (_what, bodies, complete, verdict) => {
  expect(verdictOf({ bodies, complete })).toBe(verdict);
});

test('only a write is final before all have answered', () => {
  expect([absent, written, slow].map(isFinalForPush)).toEqual([false, true, false]);
});
