import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Deadlines } from '../../../common/process/deadlines.js';

const GRAIN_MS = 20;

test('every deadline passes once, never early and at most a grain late', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ waitMs: fc.nat(5_000), stepMs: fc.nat(300) }), { maxLength: 200 }),
      (adds) => {
        const deadlines = new Deadlines(GRAIN_MS);
        const dueAtMs: number[] = [];
        const passedAtMs = new Map<number, number>();
        let nowMs = 0;
        const look = () => {
          for (const id of deadlines.passed(nowMs)) {
            expect(passedAtMs.has(id)).toBe(false);
            passedAtMs.set(id, nowMs);
          }
        };
        const wait = (ms: number) => {
          for (const untilMs = nowMs + ms; nowMs < untilMs; nowMs++) look();
        };
        for (const { waitMs, stepMs } of adds) {
          deadlines.add(dueAtMs.length, nowMs + waitMs);
          dueAtMs.push(nowMs + waitMs);
          wait(stepMs);
        }
        wait(5_000 + 2 * GRAIN_MS);
        for (const [id, due] of dueAtMs.entries()) {
          const late = passedAtMs.get(id)! - due;
          expect(late).toBeGreaterThanOrEqual(0);
          expect(late).toBeLessThanOrEqual(GRAIN_MS);
        }
      },
    ),
    { numRuns: 20 },
  );
});

test('a deadline in the past passes with the next look', () => {
  const deadlines = new Deadlines(GRAIN_MS);
  expect(deadlines.passed(1_000)).toEqual([]);
  deadlines.add(7, 500);
  expect(deadlines.passed(1_000 + GRAIN_MS)).toEqual([7]);
});
