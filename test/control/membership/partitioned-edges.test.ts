import { expect, test } from '@jest/globals';
import {
  type DeliveryReport,
  HEALTHY,
  PartitionedEdges,
} from '../../../control/membership/partitioned-edges.js';

const LEASE_MS = 10_000;

const problems = (...names: string[]): DeliveryReport => ({ ...HEALTHY, problems: names });

function report(partitionedEdges: PartitionedEdges, nowMs: number, ids: readonly string[]): void {
  for (const id of ['a', 'b', 'c', 'd']) {
    partitionedEdges.onReport(nowMs, id, ids.includes(id) ? problems('not ready') : HEALTHY);
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
    partitionedEdges.onReport(nowMs, 'a', problems('Redis x', 'Redis y'));
    for (const id of ['b', 'c', 'd']) partitionedEdges.onReport(nowMs, id, problems('Redis x'));
    expect([...partitionedEdges.update(nowMs, 4)]).toEqual(nowMs === 0 ? [] : ['a']);
  }
  partitionedEdges.onReport(10_002, 'a', problems('Redis x'));
  expect(partitionedEdges.update(20_003, 4).size).toBe(0);
});

test.each([
  [true, ['a']],
  [false, []],
])(
  'an edge that sees no router is partitioned if another edge sees one: %j',
  (seesRouters, ids) => {
    const partitionedEdges = new PartitionedEdges(LEASE_MS);
    for (const nowMs of [0, 10_001]) {
      partitionedEdges.onReport(nowMs, 'a', { ...HEALTHY, deserted: ['x'] });
      partitionedEdges.onReport(nowMs, 'b', { ...HEALTHY, seesRouters });
      expect([...partitionedEdges.update(nowMs, 2)]).toEqual(nowMs === 0 ? [] : ids);
    }
  },
);
