import { describe, expect, test } from '@jest/globals';
import type { AssignedEdge, Assignment, Intent, Move } from '../../../common/cluster/assignment.js';
import { Settling } from '../../../edge/drain/convergence.js';

/** Four shards; `owners` by the number of their edge. */
function assignment(
  owners: readonly number[],
  moves: readonly Move[] = [],
  intents: readonly Intent[] = ['none', 'none'],
): Assignment {
  const edges: AssignedEdge[] = intents.map((intent, index) => ({
    id: `edge-${index}`,
    incarnation: 'i',
    advertisedUrl: 'http://e',
    intent,
  }));
  const position = { incarnation: 0, epoch: 1 };
  const isBalancing = false;
  return { position, edges, owners: Uint16Array.from(owners), moves, isBalancing };
}

const TO_ME: Move = { shard: 0, from: 'edge-1', to: 'edge-0', phase: 'acquiring' };

describe('an edge', () => {
  test('has not settled before an assignment knows it', () => {
    const settling = new Settling('edge-9', 'i');
    expect(settling.unsettledBecause(0, undefined)).toMatch(/no assignment/);
    expect(settling.unsettledBecause(99_000, assignment([0, 0, 1, 1]))).toMatch(/no assignment/);
  });

  test('has settled at once when it owns its share, as after a restart in place', () => {
    expect(
      new Settling('edge-0', 'i').unsettledBecause(0, assignment([0, 0, 1, 1])),
    ).toBeUndefined();
  });

  test('has not settled while shards move to it, however long that takes', () => {
    const settling = new Settling('edge-0', 'i');
    expect(settling.unsettledBecause(0, assignment([1, 0, 1, 1], [TO_ME]))).toMatch(/1 shards are/);
    expect(settling.unsettledBecause(90_000, assignment([1, 0, 1, 1], [TO_ME]))).toBeDefined();
    expect(settling.unsettledBecause(90_001, assignment([0, 0, 1, 1]))).toBeUndefined();
  });

  test('has not settled between two batches of moves', () => {
    const settling = new Settling('edge-0', 'i');
    settling.unsettledBecause(0, assignment([1, 1, 1, 1], [TO_ME]));
    const between = assignment([1, 1, 1, 1]);
    expect(settling.unsettledBecause(1, between)).toBe(
      'the edge owns 0 shards, and more are to come',
    );
  });

  test('waits no longer when nothing has moved for half a minute', () => {
    const settling = new Settling('edge-0', 'i');
    const paused = assignment([1, 1, 1, 1]);
    expect(settling.unsettledBecause(1_000, paused)).toBeDefined();
    expect(settling.unsettledBecause(30_999, paused)).toBeDefined();
    expect(settling.unsettledBecause(31_000, paused)).toBeUndefined();
  });

  test('stays settled, whatever moves later', () => {
    const settling = new Settling('edge-0', 'i');
    settling.unsettledBecause(0, assignment([0, 0, 1, 1]));
    expect(settling.unsettledBecause(1, assignment([1, 1, 1, 1], [TO_ME]))).toBeUndefined();
  });

  test('waits for nothing when operators keep it empty', () => {
    const cordoned = assignment([1, 1, 1, 1], [], ['cordoned', 'none']);
    expect(new Settling('edge-0', 'i').unsettledBecause(0, cordoned)).toBeUndefined();
  });

  test('has not settled because the process before it was to be emptied', () => {
    const settling = new Settling('edge-0', 'next');
    const before = assignment([1, 1, 1, 1], [], ['draining', 'none']);
    expect(settling.unsettledBecause(0, before)).toMatch(/owns 0 shards/);
    expect(settling.unsettledBecause(1, assignment([1, 1, 1, 1], [TO_ME]))).toMatch(/1 shards are/);
  });
});
