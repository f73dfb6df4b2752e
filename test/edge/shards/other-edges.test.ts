/** The other edges that may have clients of a shard, as its owner knows them. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Assignment, Move } from '../../../common/cluster/assignment.js';
import { Metrics } from '../../../common/process/metrics.js';
import {
  EDGES_PER_SHARD_MAX,
  OtherEdges,
  SILENT_MS_MAX,
} from '../../../edge/shards/other-edges.js';

const SHARD = 3;
const OWNER = 'edge-1';
const HANDING_OVER: Move = { shard: SHARD, from: 'edge-2', to: OWNER, phase: 'handing-over' };

function newOtherEdges(): OtherEdges {
  return new OtherEdges(OWNER, new Metrics());
}

/** @param incarnations by edge; the owner is always there */
function assignmentOf(incarnations: Record<string, string>, moves: readonly Move[]): Assignment {
  const edges = Object.entries({ [OWNER]: 'own', ...incarnations }).map(([id, incarnation]) => {
    return { id, incarnation, advertisedUrl: `http://${id}`, intent: 'none' as const };
  });
  const position = { incarnation: 1, epoch: 1 };
  return { edges, moves, owners: new Uint16Array(8), isBalancing: false, position };
}

test('an edge counts from its announcement until it leaves', () => {
  const others = newOtherEdges();
  others.onHeard(SHARD, 'a', 0);
  others.onHeard(SHARD, 'b', 0);
  others.onHeard(SHARD, 'a', 1);
  expect([others.countOf(SHARD), others.countOf(SHARD + 1)]).toEqual([2, 0]);
  others.onLeft(SHARD, 'a');
  others.onLeft(SHARD, 'unknown');
  expect(others.countOf(SHARD)).toBe(1);
  others.forget(SHARD);
  expect(others.countOf(SHARD)).toBe(0);
});

test('edges have the ids of the assignment, or their incarnations', () => {
  const others = newOtherEdges();
  others.assign(assignmentOf({ 'edge-2': 'a' }, []), 0);
  for (const edge of ['a', 'newer']) others.onHeard(SHARD, edge, 0);
  expect(others.idsOf(SHARD)).toEqual(['edge-2', 'newer']);
  expect(others.of(SHARD)).toEqual(['a', 'newer']);
  expect([others.idsOf(SHARD + 1), others.of(SHARD + 1)]).toEqual([[], []]);
});

test('an edge is forgotten when it is silent for too long', () => {
  const others = newOtherEdges();
  others.onHeard(SHARD, 'a', 0);
  others.onHeard(SHARD, 'b', 1);
  others.forgetSilent(SILENT_MS_MAX);
  expect(others.countOf(SHARD)).toBe(2);
  others.forgetSilent(SILENT_MS_MAX + 1);
  expect(others.countOf(SHARD)).toBe(1);
});

test('an edge that is gone from the assignment is forgotten, one that is still to come is not', () => {
  const others = newOtherEdges();
  others.assign(assignmentOf({ 'edge-2': 'a' }, []), 0);
  others.onHeard(SHARD, 'a', 0);
  others.onHeard(SHARD, 'newcomer', 0);
  others.assign(assignmentOf({ 'edge-2': 'a' }, []), 0);
  expect(others.countOf(SHARD)).toBe(2);
  others.assign(assignmentOf({ 'edge-2': 'restarted' }, []), 0);
  expect(others.countOf(SHARD)).toBe(1);
});

test('the edge that hands the shard over counts until it leaves, even if it is silent', () => {
  const others = newOtherEdges();
  const during = assignmentOf({ 'edge-2': 'a' }, [HANDING_OVER]);
  others.assign(during, 0);
  others.forgetSilent(10 * SILENT_MS_MAX);
  expect(others.countOf(SHARD)).toBe(1);
  others.onLeft(SHARD, 'a');
  others.assign(during, 10 * SILENT_MS_MAX);
  expect(others.countOf(SHARD)).toBe(0);
});

test('it counts for as long as others when its move ends without a word of it', () => {
  const others = newOtherEdges();
  others.assign(assignmentOf({ 'edge-2': 'a' }, [HANDING_OVER]), 0);
  others.forgetSilent(1_000);
  others.assign(assignmentOf({ 'edge-2': 'a' }, []), 1_000);
  others.forgetSilent(1_000 + SILENT_MS_MAX);
  expect(others.countOf(SHARD)).toBe(1);
  others.forgetSilent(1_001 + SILENT_MS_MAX);
  expect(others.countOf(SHARD)).toBe(0);
});

test('neither a shard that is acquired nor one that another edge receives counts', () => {
  const others = newOtherEdges();
  const acquiring: Move = { ...HANDING_OVER, phase: 'acquiring' };
  const elsewhere: Move = { shard: 4, from: OWNER, to: 'edge-2', phase: 'handing-over' };
  others.assign(assignmentOf({ 'edge-2': 'a' }, [acquiring, elsewhere]), 0);
  expect([others.countOf(SHARD), others.countOf(4)]).toEqual([0, 0]);
});

/**
 * Goal: an edge that has clients is never missing while it is heard often enough, and what is known
 * is bounded.
 * Method: a model of what each edge has said last, with time passing.
 */
test('knows exactly the edges that were heard and have not left', () => {
  const said = fc.record({
    shard: fc.nat(2),
    edge: fc.constantFrom('a', 'b', 'c'),
    what: fc.constantFrom('heard', 'left'),
    passMs: fc.nat(SILENT_MS_MAX),
  });
  fc.assert(
    fc.property(fc.array(said, { maxLength: 60 }), (all) => {
      const others = newOtherEdges();
      const model = new Map<string, number>();
      let nowMs = 0;
      for (const { shard, edge, what, passMs } of all) {
        nowMs += passMs;
        const key = `${shard} ${edge}`;
        if (what === 'heard') others.onHeard(shard, edge, nowMs);
        else others.onLeft(shard, edge);
        if (what === 'heard') model.set(key, nowMs);
        else model.delete(key);
        others.forgetSilent(nowMs);
        for (const [each, heardMs] of model) {
          if (nowMs > heardMs + SILENT_MS_MAX) model.delete(each);
        }
        for (const each of [0, 1, 2]) {
          const expected = [...model.keys()].filter((known) => known.startsWith(`${each} `));
          expect(others.countOf(each)).toBe(expected.length);
        }
      }
    }),
  );
});

test('no more edges of a shard are known than the bound', () => {
  const others = newOtherEdges();
  for (let i = 0; i <= EDGES_PER_SHARD_MAX; i++) others.onHeard(SHARD, `edge ${i}`, 0);
  expect(others.countOf(SHARD)).toBe(EDGES_PER_SHARD_MAX);
});
