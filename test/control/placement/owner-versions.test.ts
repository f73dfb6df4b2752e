import { expect, test } from '@jest/globals';
import { type Assignment, NO_OWNER } from '../../../common/cluster/assignment.js';
import { OwnerVersions } from '../../../control/placement/owner-versions.js';

const SHARDS = 4;

function assignmentAt(
  epoch: number,
  ids: readonly string[],
  owners: readonly number[],
): Assignment {
  return {
    position: { incarnation: 1, epoch },
    edges: ids.map((id) => ({
      id,
      incarnation: `${id}-${epoch}`,
      advertisedUrl: `http://${id}:7000`,
      intent: 'none',
    })),
    owners: Uint16Array.from(owners),
    moves: [],
    isBalancing: false,
  };
}

const epochsOf = ({ ownedSince }: OwnerVersions) => ownedSince.map((position) => position?.epoch);

test('all shards of the first assignment have their owner since then', () => {
  const versions = new OwnerVersions(SHARDS);
  expect(epochsOf(versions)).toEqual(Array(SHARDS).fill(undefined));
  versions.onAssignment(undefined, assignmentAt(1, ['a'], [0, 0, NO_OWNER, 0]));
  expect(epochsOf(versions)).toEqual([1, 1, 1, 1]);
});

test('a shard that changes its owner has it since the version of the change', () => {
  const versions = new OwnerVersions(SHARDS);
  const first = assignmentAt(4, ['b', 'c'], [0, 1, NO_OWNER, 1]);
  // The edges before it move the indexes; a restarted edge is the same owner.
  const second = assignmentAt(5, ['a', 'b', 'c'], [1, 0, 0, 2]);
  versions.onAssignment(first, second);
  expect(epochsOf(versions)).toEqual([undefined, 5, 5, undefined]);
  const third = assignmentAt(6, ['a', 'c'], [NO_OWNER, 0, 0, 1]);
  versions.onAssignment(second, third);
  expect(epochsOf(versions)).toEqual([6, 5, 5, undefined]);
  versions.onAssignment(third, assignmentAt(7, ['a', 'c'], [NO_OWNER, 1, 0, 1]));
  expect(epochsOf(versions)).toEqual([6, 7, 5, undefined]);
});
