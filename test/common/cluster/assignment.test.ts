import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type Assignment,
  decodeAssignment,
  encodeAssignment,
  findProblem,
  fromWire,
  type Intent,
  type Move,
  NO_OWNER,
  ownerOf,
  shardsOf,
  toWire,
} from '../../../common/cluster/assignment.js';
import { comparePositions } from '../../../common/wire/position.js';

const edge = (id: string, intent: Intent = 'none') => ({
  id,
  incarnation: `${id}-i`,
  advertisedUrl: `http://${id}:7000`,
  intent,
});
const assignment: Assignment = {
  position: { incarnation: 1, epoch: 7 },
  edges: [edge('a'), edge('b', 'draining')],
  owners: Uint16Array.of(0, 1, NO_OWNER, 1),
  moves: [
    { shard: 0, from: 'b', to: 'a', phase: 'handing-over' },
    { shard: 3, from: 'b', to: 'a', phase: 'acquiring' },
  ],
  isBalancing: true,
};

test('positions compare by incarnation, then epoch', () => {
  const at = (incarnation: number, epoch: number) => ({ incarnation, epoch });
  expect(comparePositions(at(1, 9), at(2, 1))).toBeLessThan(0);
  expect(comparePositions(at(2, 2), at(2, 1))).toBeGreaterThan(0);
  expect(comparePositions(at(2, 2), at(2, 2))).toBe(0);
});

test('ownerOf and shardsOf find owners, and shards without an owner', () => {
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

  test('an assignment from before `balancing` existed is not balancing', () => {
    const bytes = encodeAssignment(assignment);
    // `balancing` is the last field: a tag and a boolean.
    expect([...bytes.subarray(-2)]).toEqual([0x28, 0x01]);
    const before = { ...assignment, isBalancing: false };
    expect(decodeAssignment(bytes.subarray(0, -2), 4)).toEqual(before);
  });

  test('rejects garbage', () => {
    expect(decodeAssignment(Buffer.from('garbage'), 4)).toMatch(/cannot be decoded/);
    expect(decodeAssignment(Buffer.alloc(0), 4)).toBe('it has no position');
  });

  test('rejects an assignment with another shard count', () => {
    expect(decodeAssignment(encodeAssignment(assignment), 8)).toMatch(/4 shards where 8/);
  });
});

describe('fromWire', () => {
  test('rejects an owner that is not listed', () => {
    const wire = toWire(assignment);
    expect(fromWire({ ...wire, owners: [0, 1, 2, 3] }, 4)).toMatch(
      /owner of shard 3 is not in its edges/,
    );
  });

  test('rejects edges that are unsorted or duplicate', () => {
    const wire = toWire(assignment);
    const [a, b] = wire.edges;
    expect(fromWire({ ...wire, edges: [b!, a!] }, 4)).toMatch(/not sorted/);
    expect(fromWire({ ...wire, edges: [a!, a!] }, 4)).toMatch(/not sorted/);
  });

  test('rejects intents and phases of a newer version', () => {
    const wire = toWire(assignment);
    const edges = wire.edges.map((one) => ({ ...one, intent: 9 }));
    expect(fromWire({ ...wire, edges }, 4)).toBe('edge a has an unknown intent');
    const moves = wire.moves.map((one) => ({ ...one, phase: 0 }));
    expect(fromWire({ ...wire, moves }, 4)).toBe('the move of shard 0 is in an unknown phase');
  });

  test('never throws, and accepts only valid assignments', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(120), fc.nat(255), (noise, at, byte) => {
        decodeAssignment(noise, 4);
        const bytes = encodeAssignment(assignment);
        bytes[at % bytes.length] = byte;
        const read = decodeAssignment(bytes, 4);
        if (typeof read !== 'string') expect(findProblem(read)).toBeUndefined();
      }),
    );
  });
});

describe('findProblem rejects a move', () => {
  const move: Move = { shard: 1, from: 'b', to: 'a', phase: 'acquiring' };
  test.each<[string, Move[], RegExp]>([
    ['of a shard that does not exist', [{ ...move, shard: 4 }], /moves shard 4 of 4/],
    ['if the shard has another', [move, move], /not sorted by unique shard/],
    [
      'to an edge that is not listed',
      [{ ...move, to: 'c' }],
      /has an edge that is not in its edges/,
    ],
    ['to its own source', [{ ...move, to: 'b' }], /ends where it begins/],
    ['whose phase requires another owner', [{ ...move, phase: 'handing-over' }], /not the owner/],
    ['of a shard without an owner', [{ ...move, shard: 2 }], /not the owner/],
  ])('%s', (_, moves, reason) => {
    expect(findProblem({ ...assignment, moves })).toMatch(reason);
  });
});
