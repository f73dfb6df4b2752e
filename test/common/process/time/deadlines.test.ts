import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Deadlines } from '../../../../common/process/time/deadlines.js';

const RESOLUTION_MS = 20;

test('every deadline expires once, never early and at most one interval late', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ waitMs: fc.nat(5_000), stepMs: fc.nat(300) }), { maxLength: 200 }),
      (adds) => {
        const deadlines = new Deadlines(RESOLUTION_MS);
        const dueAtMs: number[] = [];
        const expiredAtMs = new Map<number, number>();
        let nowMs = 0;
        const poll = () => {
          for (const id of deadlines.takeExpired(nowMs)) {
            expect(expiredAtMs.has(id)).toBe(false);
            expiredAtMs.set(id, nowMs);
          }
        };
        const wait = (ms: number) => {
          for (const untilMs = nowMs + ms; nowMs < untilMs; nowMs++) poll();
        };
        for (const { waitMs, stepMs } of adds) {
          deadlines.add(dueAtMs.length, nowMs + waitMs);
          dueAtMs.push(nowMs + waitMs);
          wait(stepMs);
        }
        wait(5_000 + 2 * RESOLUTION_MS);
        for (const [id, due] of dueAtMs.entries()) {
          const late = expiredAtMs.get(id)! - due;
          expect(late).toBeGreaterThanOrEqual(0);
          expect(late).toBeLessThanOrEqual(RESOLUTION_MS);
        }
      },
    ),
    { numRuns: 20 },
  );
});

test('a deadline in the past expires at the next poll', () => {
  const deadlines = new Deadlines(RESOLUTION_MS);
  expect(deadlines.takeExpired(1_000)).toEqual([]);
  deadlines.add(7, 500);
  expect(deadlines.takeExpired(1_000 + RESOLUTION_MS)).toEqual([7]);
});
