import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SlowPushCause } from '../../../../proto/gen/longline/v1/assignment.js';
import { Verdict } from '../../../../proto/gen/longline/v1/push.js';
import {
  type Answered,
  causeOf,
  SLOW_PUSHES_MAX,
  SlowPushes,
  type Waits,
} from '../../../../router/push/flight/slow-pushes.js';

const answered = (confirmingMs = 0): Answered => ({
  response: {
    verdict: Verdict.VERDICT_WRITTEN,
    messageId: '7-0',
    acceptLevel: 0,
    replacedId: '',
    flightRecord: undefined,
  },
  answers: {
    bodies: [],
    haveAllReplied: true,
    complete: true,
    waits: { receivers: 1, sentAtMs: 0, repliedAtMs: 0, stalledMs: 0, isTimedOut: false },
  },
  confirmingMs,
});

const push = { clientId: 'alice', payloadBytes: 5 };

test('the slowest of the last minute are exact', () => {
  const pushes = fc.array(
    fc.record({ waitMs: fc.nat(2_000), tookMs: fc.integer({ min: 1, max: 5_000 }) }),
    { maxLength: 400 },
  );
  fc.assert(
    fc.property(pushes, fc.nat(70_000), (list, restMs) => {
      const log = new SlowPushes();
      const all: { atMs: number; tookMs: number }[] = [];
      let nowMs = 1_000;
      for (const { waitMs, tookMs } of list) {
        nowMs += waitMs;
        log.onVerdict(push, answered(), nowMs - tookMs, nowMs);
        all.push({ atMs: nowMs, tookMs });
      }
      nowMs += restMs;
      const expected = all
        .filter(({ atMs }) => nowMs - atMs < 60_000)
        .map(({ tookMs }) => tookMs)
        .sort((a, b) => b - a)
        .slice(0, SLOW_PUSHES_MAX);
      const found = log.slowest(nowMs);
      expect(found.map(({ totalMs }) => totalMs)).toEqual(expected);
      for (const { ageMs } of found) expect(ageMs).toBeLessThan(60_000);
    }),
  );
});

test('the wait for the confirmation of the device does not count', () => {
  const log = new SlowPushes();
  log.onVerdict(push, answered(9_000), 1_000, 10_007);
  expect(log.slowest(10_010)).toEqual([
    {
      clientId: 'alice',
      verdict: Verdict.VERDICT_WRITTEN,
      messageId: '7-0',
      payloadBytes: 5,
      totalMs: 7,
      redisMs: undefined,
      edgesMs: undefined,
      cause: SlowPushCause.SLOW_PUSH_CAUSE_REDIS_SILENT,
      ageMs: 3,
      flightRecord: undefined,
    },
  ]);
});

const quick: Waits = {
  totalMs: 200,
  redisMs: 100,
  edgesMs: 180,
  stalledMs: 0,
  receivers: 1,
  replies: 1,
  isTimedOut: false,
};

test.each<[string, Partial<Waits>, keyof typeof SlowPushCause]>([
  ['Redis was slow', { edgesMs: 190 }, 'SLOW_PUSH_CAUSE_REDIS'],
  [
    'Redis was slow, and no edge was asked',
    { edgesMs: undefined, redisMs: 190 },
    'SLOW_PUSH_CAUSE_REDIS',
  ],
  ['Redis did not reply', { redisMs: undefined, isTimedOut: true }, 'SLOW_PUSH_CAUSE_REDIS_SILENT'],
  ['an edge was slow', { redisMs: 20 }, 'SLOW_PUSH_CAUSE_EDGE'],
  ['an edge did not reply', { receivers: 2, isTimedOut: true }, 'SLOW_PUSH_CAUSE_EDGE_SILENT'],
  ['there was no owner', { isTimedOut: true }, 'SLOW_PUSH_CAUSE_NO_OWNER'],
  ['the router was busy', { stalledMs: 150 }, 'SLOW_PUSH_CAUSE_ROUTER'],
  ['the router was busy after all replies', { redisMs: 0, edgesMs: 20 }, 'SLOW_PUSH_CAUSE_ROUTER'],
  ['nothing was slow', { totalMs: 30, redisMs: 0, edgesMs: 20 }, 'SLOW_PUSH_CAUSE_UNSPECIFIED'],
])('%s', (_, waits, cause) => {
  expect(SlowPushCause[causeOf({ ...quick, ...waits })]).toBe(cause);
});
