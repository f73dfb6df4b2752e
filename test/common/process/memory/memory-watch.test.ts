import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MemoryGroup, parseCgroupLimit } from '../../../../common/process/memory/cgroup.js';
import {
  headroomOf,
  isLow,
  limitsOf,
  type MemoryLimit,
  tightestOf,
} from '../../../../common/process/memory/memory-watch.js';

const MIB = 1024 * 1024;

function limit(limitBytes: number, usedBytes: number): MemoryLimit {
  return { name: 'control group', limitBytes, usedBytes };
}

test('reads limits of control groups of both versions', () => {
  expect(parseCgroupLimit('max\n')).toBe(Infinity);
  expect(parseCgroupLimit('9223372036854771712\n')).toBe(Infinity);
  expect(parseCgroupLimit('2147483648\n')).toBe(2 ** 31);
  expect(parseCgroupLimit(undefined)).toBeUndefined();
});

test('a control group with a limit has less used than its limit', () => {
  const group = MemoryGroup.find()?.read();
  if (group === undefined) return;
  expect(group.usedBytes).toBeGreaterThan(0);
  expect(group.usedBytes).toBeLessThanOrEqual(group.limitBytes);
});

test('the limit with the smallest share left counts', () => {
  const heap = { heap_size_limit: 100, used_heap_size: 60 };
  const names = (resident: number, group?: { limitBytes: number; usedBytes: number }) =>
    tightestOf(limitsOf(group, resident, 5, heap, 1_000)).name;
  expect(names(25)).toBe('heap');
  expect(names(700)).toBe('machine');
  expect(names(25, { limitBytes: 200, usedBytes: 90 })).toBe('heap');
  expect(names(25, { limitBytes: 200, usedBytes: 150 })).toBe('control group');
  expect(headroomOf(limit(200, 150))).toBe(0.25);
  expect(headroomOf(limit(200, 300))).toBe(0);
});

test('memory is low below 16 MiB or a twentieth, whichever is more', () => {
  expect(isLow(limit(128 * MIB, 112 * MIB))).toBe(false);
  expect(isLow(limit(128 * MIB, 112 * MIB + 1))).toBe(true);
  expect(isLow(limit(1_000 * MIB, 950 * MIB))).toBe(false);
  expect(isLow(limit(1_000 * MIB, 950 * MIB + 1))).toBe(true);
});

test('with more memory used, it is low all the more', () => {
  const bytes = fc.integer({ min: 1, max: 2 ** 40 });
  fc.assert(
    fc.property(bytes, bytes, bytes, (limitBytes, used, more) => {
      if (isLow(limit(limitBytes, used))) expect(isLow(limit(limitBytes, used + more))).toBe(true);
    }),
  );
});
