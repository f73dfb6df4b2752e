import { expect, test } from '@jest/globals';
import { PartitionedEdges } from '../../../control/membership/partitioned-edges.js';

const LEASE_MS = 10_000;

function report(partitionedEdges: PartitionedEdges, nowMs: number, ids: readonly string[]): void {
  for (const id of ['a', 'b', 'c', 'd']) {
    partitionedEdges.onReport(nowMs, id, ids.includes(id) ? ['not ready'] : []);
  }
}

test.each([
  [1, 1, true],
  [2, 1, true],
  [2, 2, false],
  [3, 2, false],
  [4, 2, true],
  [4, 3, false],
])('of %i edges, %i are not ready: partitioned %s', (members, count, isPartitioned) => {
  const partitionedEdges = new PartitionedEdges(LEASE_MS);
  const ids = ['a', 'b', 'c', 'd'].slice(0, count);
  for (const nowMs of [0, 2_000, 10_000]) {
    report(partitionedEdges, nowMs, ids);
    expect([...partitionedEdges.update(nowMs, members)]).toEqual([]);
  }
  report(partitionedEdges, 10_001, ids);
  expect([...partitionedEdges.update(10_001, members)]).toEqual(isPartitioned ? ids : []);
});

test('starts again when the edge was ready, or is forgotten', () => {
  for (const reset of ['ready', 'forget']) {
    const partitionedEdges = new PartitionedEdges(LEASE_MS);
    report(partitionedEdges, 0, ['a']);
    if (reset === 'ready') report(partitionedEdges, 9_000, []);
    else partitionedEdges.forget('a');
    report(partitionedEdges, 9_001, ['a']);
    expect(partitionedEdges.update(19_001, 4).size).toBe(0);
    expect(partitionedEdges.update(19_002, 4).size).toBe(1);
  }
});

test('an edge that alone receives nothing through one master is partitioned', () => {
  const partitionedEdges = new PartitionedEdges(LEASE_MS);
  for (const nowMs of [0, 10_001]) {
    // Master x is down for all edges, y only for the first.
    partitionedEdges.onReport(nowMs, 'a', ['Redis x', 'Redis y']);
    for (const id of ['b', 'c', 'd']) partitionedEdges.onReport(nowMs, id, ['Redis x']);
    expect([...partitionedEdges.update(nowMs, 4)]).toEqual(nowMs === 0 ? [] : ['a']);
  }
  partitionedEdges.onReport(10_002, 'a', ['Redis x']);
  expect(partitionedEdges.update(20_003, 4).size).toBe(0);
});
