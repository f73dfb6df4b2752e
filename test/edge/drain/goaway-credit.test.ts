import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { GoawayCredit } from '../../../edge/drain/goaway-credit.js';

function takeAll(perSecond: number, untilMs: number, everyMs: number): number {
  const credit = new GoawayCredit();
  let taken = 0;
  for (let nowMs = 0; nowMs <= untilMs; nowMs += everyMs) taken += credit.take(nowMs, perSecond);
  return taken;
}

test.each([0, -1, Number.NaN])('sends no goaway at a rate of %d', (perSecond) => {
  expect(takeAll(perSecond, 60_000, 100)).toBe(0);
});

test('keeps a rate below one per step', () => {
  expect(takeAll(0.5, 60_000, 100)).toBeCloseTo(30, -1);
});

test('drops saved credit at a rate of zero', () => {
  const credit = new GoawayCredit();
  credit.take(0, 10);
  credit.take(90, 10);
  expect(credit.take(100, 0)).toBe(0);
  expect(credit.take(190, 10)).toBe(0);
});

test('earns nothing when the clock is set back', () => {
  const credit = new GoawayCredit();
  credit.take(10_000, 100);
  expect(credit.take(0, 100)).toBeLessThanOrEqual(50);
});

test('sends no more than the rate and one burst in any second and a half', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 100 }),
      fc.integer({ min: 1, max: 5_000 }),
      (gapsMs, perSecond) => {
        const credit = new GoawayCredit();
        let nowMs = 0;
        const taken: [atMs: number, count: number][] = [];
        for (const gapMs of gapsMs) {
          nowMs += gapMs;
          taken.push([nowMs, credit.take(nowMs, perSecond)]);
        }
        for (const [fromMs] of taken) {
          const within = taken.filter(([atMs]) => atMs >= fromMs && atMs < fromMs + 1_500);
          const sum = within.reduce((all, [, count]) => all + count, 0);
          expect(sum).toBeLessThanOrEqual(Math.max(1, perSecond / 2) + perSecond * 1.5);
        }
      },
    ),
  );
});
