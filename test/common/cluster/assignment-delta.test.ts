import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type Assignment,
  encodeAssignment,
  type Intent,
  type Move,
  NO_OWNER,
} from '../../../common/cluster/assignment.js';
import { applyDelta, deltaBetween } from '../../../common/cluster/assignment-delta.js';
import { AssignmentDelta } from '../../../proto/gen/longline/v1/assignment.js';

const SHARDS = 12;
const INTENTS: readonly Intent[] = ['none', 'cordoned', 'draining'];

/** Any valid assignment of some of eight edges; a pair of them shares little or much. */
const assignments = (epoch: number) =>
  fc
    .record({
      ids: fc.subarray(Array.from({ length: 8 }, (_, i) => `edge-${i}`)),
      processes: fc.array(fc.nat(1), { minLength: 8, maxLength: 8 }),
      intents: fc.array(fc.nat(2), { minLength: 8, maxLength: 8 }),
      owners: fc.array(fc.nat(9), { minLength: SHARDS, maxLength: SHARDS }),
      moving: fc.array(fc.nat(9), { minLength: SHARDS, maxLength: SHARDS }),
      isBalancing: fc.boolean(),
    })
    .map(({ ids, processes, intents, owners, moving, isBalancing }): Assignment => {
      const edges = ids.map((id, i) => ({
        id,
        incarnation: `i${processes[i]}`,
        advertisedUrl: `http://${id}:7000`,
        frontAddress: processes[i] === 1 ? `${id}:7001` : undefined,
        intent: INTENTS[intents[i]!]!,
      }));
      const owned = Uint16Array.from(owners, (one) => (one < ids.length ? one : NO_OWNER));
      const moves = moving.flatMap((other, shard): Move[] => {
        const owner = owned[shard]!;
        if (owner === NO_OWNER || other >= ids.length || other === owner) return [];
        const isLate = (other + owner) % 2 === 0;
        const [from, to] = isLate ? [other, owner] : [owner, other];
        const phase = isLate ? 'handing-over' : 'acquiring';
        return [{ shard, from: ids[from]!, to: ids[to]!, phase }];
      });
      return { position: { incarnation: 1, epoch }, edges, owners: owned, moves, isBalancing };
    });

const overTheWire = (delta: AssignmentDelta) =>
  AssignmentDelta.decode(AssignmentDelta.encode(delta).finish());

test('a delta turns any assignment into any later one', () => {
  fc.assert(
    fc.property(assignments(4), assignments(7), (before, after) => {
      expect(applyDelta(before, overTheWire(deltaBetween(before, after)))).toEqual(after);
    }),
    { numRuns: 500 },
  );
});

test('a delta between other assignments of the same positions does not fit', () => {
  fc.assert(
    fc.property(assignments(4), assignments(7), assignments(4), (before, after, other) => {
      const result = applyDelta(other, overTheWire(deltaBetween(before, after)));
      if (typeof result !== 'string') expect(result).toEqual(after);
    }),
    { numRuns: 500 },
  );
});

test('a damaged delta does not fit', () => {
  fc.assert(
    fc.property(assignments(4), assignments(7), fc.nat(), (before, after, at) => {
      const bytes = Buffer.from(AssignmentDelta.encode(deltaBetween(before, after)).finish());
      bytes[at % bytes.length]! ^= 1 << (at % 8);
      let damaged: AssignmentDelta;
      try {
        damaged = AssignmentDelta.decode(bytes);
      } catch {
        return;
      }
      const result = applyDelta(before, damaged);
      if (typeof result === 'string') return;
      // Positions are compared, not covered by the checksum.
      expect({ ...result, position: after.position }).toEqual(after);
    }),
    { numRuns: 500 },
  );
});

test('a delta from an assignment that the watcher does not have does not fit', () => {
  const before = bigAssignment(1);
  const delta = deltaBetween(before, { ...before, position: { incarnation: 1, epoch: 3 } });
  const later = { ...before, position: { incarnation: 1, epoch: 2 } };
  expect(applyDelta(later, delta)).toBe('it changes another assignment');
  expect(applyDelta(before, { ...delta, base: undefined })).toBe('a position is missing');
});

test('the move of one shard among 16,384 is less than a hundred bytes, not the whole', () => {
  const before = bigAssignment(1);
  const move: Move = { shard: 9_000, from: 'edge-0', to: 'edge-1', phase: 'acquiring' };
  const owners = Uint16Array.from(before.owners);
  owners[move.shard] = 0;
  const start = { ...before, owners };
  const after = { ...start, position: { incarnation: 1, epoch: 2 }, moves: [move] };
  const bytes = AssignmentDelta.encode(deltaBetween(start, after)).finish();
  expect(bytes.length).toBeLessThan(100);
  expect(encodeAssignment(after).length).toBeGreaterThan(40_000);
});

function bigAssignment(epoch: number): Assignment {
  const edges = Array.from({ length: 500 }, (_, i) => ({
    id: `edge-${i}`,
    incarnation: 'i1',
    advertisedUrl: `http://edge-${i}:7000`,
    intent: 'none' as const,
  })).sort((a, b) => (a.id < b.id ? -1 : 1));
  const owners = Uint16Array.from({ length: 16_384 }, (_, shard) => shard % edges.length);
  return { position: { incarnation: 1, epoch }, edges, owners, moves: [], isBalancing: false };
}
