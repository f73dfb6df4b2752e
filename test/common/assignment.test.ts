import { describe, expect, test } from '@jest/globals';
import {
  type Assignment,
  comparePositions,
  decodeAssignment,
  encodeAssignment,
  fromWire,
  NO_OWNER,
  ownerOf,
  shardsOf,
  toWire,
} from '../../common/assignment.js';

const edge = (id: string) => ({ id, incarnation: `${id}-i`, advertisedUrl: `http://${id}:7000` });
const assignment: Assignment = {
  position: { incarnation: 1, epoch: 7 },
  edges: [edge('a'), edge('b')],
  owners: Uint16Array.of(0, 1, NO_OWNER, 1),
};

test('positions compare by incarnation, then epoch', () => {
  const at = (incarnation: number, epoch: number) => ({ incarnation, epoch });
  expect(comparePositions(at(1, 9), at(2, 1))).toBeLessThan(0);
  expect(comparePositions(at(2, 2), at(2, 1))).toBeGreaterThan(0);
  expect(comparePositions(at(2, 2), at(2, 2))).toBe(0);
});

test('owners are found, and shards without one', () => {
  expect(ownerOf(assignment, 1)?.id).toBe('b');
  expect(ownerOf(assignment, 2)).toBeUndefined();
  expect(ownerOf(assignment, 4)).toBeUndefined();
  expect(shardsOf(assignment, 'b')).toEqual([1, 3]);
  expect(shardsOf(assignment, 'c')).toEqual([]);
});

describe('decodeAssignment', () => {
  test('reads what encodeAssignment wrote', () => {
    expect(decodeAssignment(encodeAssignment(assignment), 4)).toEqual(assignment);
  });

  test('refuses garbage', () => {
    expect(decodeAssignment(Buffer.from('garbage'), 4)).toMatch(/cannot be decoded/);
    expect(decodeAssignment(Buffer.alloc(0), 4)).toBe('it has no position');
  });

  test('refuses a map of another size', () => {
    expect(decodeAssignment(encodeAssignment(assignment), 8)).toMatch(/4 shards where 8/);
  });
});

describe('fromWire', () => {
  test('refuses an owner that is not listed', () => {
    const wire = toWire(assignment);
    expect(fromWire({ ...wire, owners: [0, 1, 2, 3] }, 4)).toMatch(/shard 3 belongs to/);
  });

  test('refuses edges that are unsorted or given twice', () => {
    const wire = toWire(assignment);
    expect(fromWire({ ...wire, edges: [edge('b'), edge('a')] }, 4)).toMatch(/not sorted/);
    expect(fromWire({ ...wire, edges: [edge('a'), edge('a')] }, 4)).toMatch(/not sorted/);
  });
});
