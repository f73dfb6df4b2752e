import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Freeze, type Presence } from '../../../control/membership/freeze.js';

const LEASE_MS = 10_000;
const present: Presence = { vanishedAtMs: undefined };
const members = (count: number, ...vanishedAtMs: number[]): Presence[] =>
  Array.from({ length: count }, (_, i) =>
    i in vanishedAtMs ? { vanishedAtMs: vanishedAtMs[i] } : present,
  );

test.each([
  [4, 2, false],
  [4, 3, true],
  [3, 2, true],
  [2, 2, true],
  [2, 1, false],
  [1, 1, false],
])('of %i edges, %i at once: freezes %s', (count, vanished, isFrozen) => {
  const freeze = new Freeze(LEASE_MS);
  freeze.update(1_000, members(count, ...new Array<number>(vanished).fill(1_000)));
  expect(freeze.endsAtMs).toBe(isFrozen ? 31_000 : undefined);
});

test('counts only edges that have vanished within half a lease', () => {
  const freeze = new Freeze(LEASE_MS);
  freeze.update(5_000, members(3, 0, 5_000));
  expect(freeze.endsAtMs).toBeUndefined();
  freeze.update(5_000, members(3, 1, 5_000));
  expect(freeze.endsAtMs).toBe(35_000);
});

test('ends when half of the edges are back, and gives the others a grace period', () => {
  const freeze = new Freeze(LEASE_MS);
  freeze.update(0, members(4, 0, 0, 0));
  freeze.update(20_000, members(4, 0, 0, 0));
  expect(freeze.endsAtMs).toBe(30_000);
  freeze.update(20_000, members(4, 0, 0));
  expect(freeze.endsAtMs).toBeUndefined();
  expect(freeze.graceEndsAtMs).toBe(30_000);
});

test('does not freeze again for edges that are confirmed lost', () => {
  const freeze = new Freeze(LEASE_MS);
  freeze.update(1_000, members(4, 1_000, 1_000, 1_000));
  freeze.confirmLostEdges(2_000);
  freeze.update(2_000, members(4, 1_000, 1_000, 1_000));
  expect(freeze.endsAtMs).toBeUndefined();
});

test('never lasts longer than three leases', () => {
  const step = fc.tuple(fc.nat(5_000), fc.array(fc.boolean(), { minLength: 1, maxLength: 6 }));
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const freeze = new Freeze(LEASE_MS);
      let nowMs = 0;
      for (const [ms, missing] of steps) {
        nowMs += ms;
        const sinceMs = nowMs;
        freeze.update(
          nowMs,
          missing.map((isMissing) => ({ vanishedAtMs: isMissing ? sinceMs : undefined })),
        );
        const endsAtMs = freeze.endsAtMs ?? nowMs + 1;
        expect(endsAtMs).toBeGreaterThan(nowMs);
        expect(endsAtMs).toBeLessThanOrEqual(nowMs + 3 * LEASE_MS);
      }
    }),
  );
});
