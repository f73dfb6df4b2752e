/** The shards of a partitioned edge move to the others, and return after it has recovered. */
import { expect, test } from '@jest/globals';
import { edge, PlannerHarness } from './planner-harness.js';

const IDS = ['a', 'b', 'c'];

function withPartitioned(...ids: string[]): PlannerHarness {
  const harness = PlannerHarness.withEdges(...IDS);
  harness.passWithReports(IDS, 34_000);
  harness.edges = IDS.map((id) => edge(id, { isPartitioned: ids.includes(id) }));
  harness.sendEdges();
  return harness;
}

test('a partitioned edge loses its shards by moves, without an intent', () => {
  const harness = withPartitioned('c');
  expect(
    harness.stored!.moves.every(({ from, phase }) => from === 'c' && phase === 'acquiring'),
  ).toBe(true);
  harness.passWithReports(IDS, 60_000);
  expect(harness.shardCounts()).toMatchObject({ c: 0 });
  expect(harness.moves()).toEqual([]);
  expect(harness.stored!.edges.map(({ intent }) => intent)).toEqual(['none', 'none', 'none']);
});

test('a recovered edge keeps its shards, and gets its share after a while', () => {
  const harness = withPartitioned('c');
  harness.passWithReports(IDS, 4_000);
  harness.edges = IDS.map((id) => edge(id));
  harness.sendEdges();
  expect(harness.planner.queue).toEqual([]);
  harness.passWithReports(IDS, 20_000);
  const remaining = harness.shardCounts().c!;
  expect(remaining).toBeGreaterThan(0);
  expect(remaining).toBeLessThan(3);
  harness.passWithReports(IDS, 30_000);
  expect(harness.shardCounts().c).toBe(remaining);
  harness.passWithReports(IDS, 120_000);
  expect([5, 6]).toContain(harness.shardCounts().c);
});

test('nothing moves when no edge could get the shards', () => {
  const harness = withPartitioned(...IDS);
  harness.passWithReports(IDS, 60_000);
  expect(harness.moves()).toEqual([]);
  expect(Object.values(harness.shardCounts()).sort()).toEqual([5, 5, 6]);
});

test('a partitioned edge gets no shards of an edge that dies', () => {
  const harness = withPartitioned('c');
  harness.setMembers(edge('a'), edge('c', { isPartitioned: true }));
  harness.passWithReports(['a', 'c'], 90_000);
  expect(harness.shardCounts()).toEqual({ a: 16, c: 0 });
});
