import { expect, test } from '@jest/globals';
import { disconnected, hello, MembershipHarness, restored } from './membership-harness.js';

test('plans once for edges that start together, two seconds after the last hello', () => {
  const harness = new MembershipHarness();
  expect(harness.handle(restored())).toEqual([]);
  expect(harness.handle(hello('a', 1))).toEqual([]);
  harness.pass(900);
  expect(harness.handle(hello('b', 2))).toEqual([]);
  expect(harness.pass(5_000)).toEqual(['2900 replan']);
});

test('plans eight seconds after the first hello, although more edges join', () => {
  const harness = new MembershipHarness();
  harness.handle(restored());
  const passed = Array.from({ length: 20 }, (_, i) => {
    harness.handle(hello(`edge-${i}`, i));
    return harness.pass(700);
  });
  expect(passed.flat()[0]).toBe('8000 replan');
});

test('plans at once for an edge that joins later, and for others of the next second together', () => {
  const harness = MembershipHarness.converged();
  expect(harness.pass(1_500)).toEqual([]);
  expect(harness.handle(hello('c', 3))).toEqual(['replan']);
  for (let i = 0; i < 100; i++) {
    expect(harness.handle(hello(`edge-${i}`, 4 + i))).toEqual([]);
    expect(harness.pass(9)).toEqual([]);
  }
  expect(harness.pass(3_000)).toEqual(['3500 replan']);
});

test('does not wait for joining edges before it places the shards of a dead one', () => {
  const harness = MembershipHarness.converged();
  for (const [id, session] of [
    ['c', 3],
    ['d', 4],
    ['e', 5],
  ] as const) {
    harness.handle(hello(id, session));
  }
  expect(harness.pass(1_000)).toEqual(['2000 replan']);
  harness.ports.set('e', 'closed');
  harness.handle(disconnected('e', 5));
  const [placed] = harness.pass(1_000);
  expect(Number.parseInt(placed!, 10)).toBeLessThan(3_000);
  expect(harness.states()).toMatchObject({ e: 'dead' });
});
