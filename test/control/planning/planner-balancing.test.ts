/** What has begun to be evened out is finished, whoever leads, and nothing else is begun for it. */
import { expect, test } from '@jest/globals';
import { type Assignment, shardsOf } from '../../../common/cluster/assignment.js';
import { Story } from './planner-harness.js';

const IDS = ['a', 'b'];

/** `a` has shards of 200 clients, `b` of 100: four thirds of the mean. */
function lopsided() {
  const story = new Story(64).begin(...IDS);
  const heavy = new Set(shardsOf(story.stored!, 'a'));
  const loadOf = (shard: number) => (heavy.has(shard) ? 200 : 100);
  /** Lets control act until `a` is this far above the mean, what is on its way included. */
  const passUntil = (maxOverMean: number): Assignment => {
    for (let tries = 0; tries < 100; tries++) {
      story.passWithReports(IDS, 2_000, loadOf);
      if (maxOverMeanOf(story.stored!, loadOf) <= maxOverMean) return story.stored!;
    }
    throw new Error(`it stays at ${maxOverMeanOf(story.stored!, loadOf)}`);
  };
  return { story, loadOf, passUntil };
}

function maxOverMeanOf(table: Assignment, loadOf: (shard: number) => number): number {
  const loads = IDS.map((id) => {
    const going = table.moves.filter(({ from, phase }) => from === id && phase === 'acquiring');
    const coming = table.moves.filter(({ to, phase }) => to === id && phase === 'acquiring');
    const without = new Set(going.map(({ shard }) => shard));
    const shards = shardsOf(table, id).filter((shard) => !without.has(shard));
    return [...shards, ...coming.map(({ shard }) => shard)].reduce((sum, s) => sum + loadOf(s), 0);
  });
  return (Math.max(...loads) * IDS.length) / loads.reduce((sum, load) => sum + load, 0);
}

/** Another control takes over; whatever the one before had in mind is gone. */
function takeOver(table: Assignment): Story {
  const story = new Story(64);
  story.stored = table;
  story.tell({ type: 'read', assignment: table });
  story.members(...new Story(64).begin(...IDS).edges);
  return story;
}

test('a leader that takes over in the band goes on to the aim, because the table says so', () => {
  const { passUntil, loadOf } = lopsided();
  const table = passUntil(1.09);
  expect(maxOverMeanOf(table, loadOf)).toBeGreaterThan(1.05);
  expect(table.isBalancing).toBe(true);

  const next = takeOver(table);
  next.passWithReports(IDS, 120_000, loadOf);
  expect(maxOverMeanOf(next.stored!, loadOf)).toBeLessThanOrEqual(1.05);
  expect(next.stored).toMatchObject({ moves: [], isBalancing: false });

  // It would not have begun by itself.
  const other = takeOver({ ...table, isBalancing: false });
  other.passWithReports(IDS, 120_000, loadOf);
  expect(maxOverMeanOf(other.stored!, loadOf)).toBeGreaterThan(1.05);
});

test('a leader that takes over moves nothing before it knows the loads', () => {
  const { passUntil, loadOf } = lopsided();
  const next = takeOver(passUntil(1.09));
  const { shard } = next.stored!.moves[0]!;
  next.passWithReports(IDS, 28_000, loadOf);
  expect(next.stored!.moves.filter((move) => move.shard !== shard)).toEqual([]);
  // Of one edge only, it does not know them either, and does not call it finished.
  const deaf = takeOver(next.stored!);
  deaf.passWithReports(['a'], 90_000, loadOf);
  expect(deaf.stored!.isBalancing).toBe(true);
});

test('what an operator has asked for is finished by the next leader, too', () => {
  const { passUntil, loadOf } = lopsided();
  const inBand = { ...passUntil(1.09), isBalancing: false };
  const asked = takeOver(inBand);
  asked.passWithReports(IDS, 60_000, loadOf);
  expect(asked.stored).toMatchObject({ moves: [], isBalancing: false });
  asked.tell({ type: 'apply', plan: asked.planner.preview(asked.nowMs)! });
  expect(asked.stored!.isBalancing).toBe(true);
});

test('what is finished, or aborted, is only begun again outside the band', () => {
  const { story, passUntil, loadOf } = lopsided();
  passUntil(1.05);
  story.passWithReports(IDS, 90_000, loadOf);
  const { position } = story.stored!;
  expect(story.stored!.isBalancing).toBe(false);
  const slightly = (shard: number) =>
    loadOf(shard) * (shardsOf(story.stored!, 'a').includes(shard) ? 1.05 : 1);
  story.passWithReports(IDS, 120_000, slightly);
  expect(story.stored!.position).toEqual(position);

  const aborted = lopsided();
  aborted.passUntil(1.15);
  aborted.story.tell({ type: 'abort' });
  expect(aborted.story.stored).toMatchObject({ isBalancing: false });
});
