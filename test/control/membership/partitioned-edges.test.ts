import { expect, test } from '@jest/globals';
import { PartitionedEdges } from '../../../control/membership/partitioned-edges.js';

const LEASE_MS = 10_000;

function say(partitionedEdges: PartitionedEdges, nowMs: number, ids: readonly string[]): void {
  for (const id of ['a', 'b', 'c', 'd']) partitionedEdges.hear(nowMs, id, !ids.includes(id));
}

test.each([
  [1, 1, true],
  [2, 1, true],
  [2, 2, false],
  [3, 2, false],
  [4, 2, true],
  [4, 3, false],
])('of %i edges, %i are not ready: cut off %s', (members, count, isPartitioned) => {
  const partitionedEdges = new PartitionedEdges(LEASE_MS);
  const ids = ['a', 'b', 'c', 'd'].slice(0, count);
  for (const nowMs of [0, 2_000, 10_000]) {
    say(partitionedEdges, nowMs, ids);
    expect([...partitionedEdges.judge(nowMs, members)]).toEqual([]);
  }
  say(partitionedEdges, 10_001, ids);
  expect([...partitionedEdges.judge(10_001, members)]).toEqual(isPartitioned ? ids : []);
});

test('begins anew whenever it was ready, or is forgotten', () => {
  for (const heal of ['ready', 'forget']) {
    const partitionedEdges = new PartitionedEdges(LEASE_MS);
    say(partitionedEdges, 0, ['a']);
    if (heal === 'ready') say(partitionedEdges, 9_000, []);
    else partitionedEdges.forget('a');
    say(partitionedEdges, 9_001, ['a']);
    expect(partitionedEdges.judge(19_001, 4).size).toBe(0);
    expect(partitionedEdges.judge(19_002, 4).size).toBe(1);
  }
});
