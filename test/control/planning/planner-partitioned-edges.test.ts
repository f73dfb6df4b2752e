/** The shards of an edge that cannot deliver go to the others, and come back when it can. */
import { expect, test } from '@jest/globals';
import { edge, Story } from './planner-harness.js';

const IDS = ['a', 'b', 'c'];

function partitionedEdges(...ids: string[]): Story {
  const story = Story.withEdges(...IDS);
  story.passWithReports(IDS, 34_000);
  story.edges = IDS.map((id) => edge(id, { isPartitioned: ids.includes(id) }));
  story.tellEdges();
  return story;
}

test('an edge that is cut off loses its shards by moves, without an intent', () => {
  const story = partitionedEdges('c');
  expect(
    story.stored!.moves.every(({ from, phase }) => from === 'c' && phase === 'acquiring'),
  ).toBe(true);
  story.passWithReports(IDS, 60_000);
  expect(story.shares()).toMatchObject({ c: 0 });
  expect(story.moves()).toEqual([]);
  expect(story.stored!.edges.map(({ intent }) => intent)).toEqual(['none', 'none', 'none']);
});

test('healed, it keeps what it has, and is given its share after a while', () => {
  const story = partitionedEdges('c');
  story.passWithReports(IDS, 4_000);
  story.edges = IDS.map((id) => edge(id));
  story.tellEdges();
  expect(story.planner.queue).toEqual([]);
  story.passWithReports(IDS, 20_000);
  const left = story.shares().c!;
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThan(3);
  story.passWithReports(IDS, 30_000);
  expect(story.shares().c).toBe(left);
  story.passWithReports(IDS, 120_000);
  expect([5, 6]).toContain(story.shares().c);
});

test('nothing moves when nobody could take it', () => {
  const story = partitionedEdges(...IDS);
  story.passWithReports(IDS, 60_000);
  expect(story.moves()).toEqual([]);
  expect(Object.values(story.shares()).sort()).toEqual([5, 5, 6]);
});

test('an edge that is cut off gets nothing of one that dies', () => {
  const story = partitionedEdges('c');
  story.members(edge('a'), edge('c', { isPartitioned: true }));
  story.passWithReports(['a', 'c'], 90_000);
  expect(story.shares()).toEqual({ a: 16, c: 0 });
});
