import { describe, expect, test } from '@jest/globals';
import type { AssignedEdge, Assignment, Intent, Move } from '../../../common/cluster/assignment.js';
import { Convergence } from '../../../edge/drain/convergence.js';

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
    const convergence = new Convergence('edge-9', 'i');
    expect(convergence.notConvergedBecause(0, undefined)).toMatch(/no assignment/);
    expect(convergence.notConvergedBecause(99_000, assignment([0, 0, 1, 1]))).toMatch(
      /no assignment/,
    );
  });

  test('has settled at once when it owns its share, as after a restart in place', () => {
    expect(
      new Convergence('edge-0', 'i').notConvergedBecause(0, assignment([0, 0, 1, 1])),
    ).toBeUndefined();
  });

  test('has not settled while shards move to it, however long that takes', () => {
    const convergence = new Convergence('edge-0', 'i');
    expect(convergence.notConvergedBecause(0, assignment([1, 0, 1, 1], [TO_ME]))).toMatch(
      /1 shards are/,
    );
    expect(
      convergence.notConvergedBecause(90_000, assignment([1, 0, 1, 1], [TO_ME])),
    ).toBeDefined();
    expect(convergence.notConvergedBecause(90_001, assignment([0, 0, 1, 1]))).toBeUndefined();
  });

  test('has not settled between two batches of moves', () => {
    const convergence = new Convergence('edge-0', 'i');
    convergence.notConvergedBecause(0, assignment([1, 1, 1, 1], [TO_ME]));
    const between = assignment([1, 1, 1, 1]);
    expect(convergence.notConvergedBecause(1, between)).toBe(
      'the edge owns 0 shards, and more are to come',
    );
  });

  test('waits no longer when nothing has moved for half a minute', () => {
    const convergence = new Convergence('edge-0', 'i');
    const paused = assignment([1, 1, 1, 1]);
    expect(convergence.notConvergedBecause(1_000, paused)).toBeDefined();
    expect(convergence.notConvergedBecause(30_999, paused)).toBeDefined();
    expect(convergence.notConvergedBecause(31_000, paused)).toBeUndefined();
  });

  test('stays settled, whatever moves later', () => {
    const convergence = new Convergence('edge-0', 'i');
    convergence.notConvergedBecause(0, assignment([0, 0, 1, 1]));
    expect(convergence.notConvergedBecause(1, assignment([1, 1, 1, 1], [TO_ME]))).toBeUndefined();
  });

  test('waits for nothing when operators keep it empty', () => {
    const cordoned = assignment([1, 1, 1, 1], [], ['cordoned', 'none']);
    expect(new Convergence('edge-0', 'i').notConvergedBecause(0, cordoned)).toBeUndefined();
  });

  test('has not settled because the process before it was to be emptied', () => {
    const convergence = new Convergence('edge-0', 'next');
    const before = assignment([1, 1, 1, 1], [], ['draining', 'none']);
    expect(convergence.notConvergedBecause(0, before)).toMatch(/owns 0 shards/);
    expect(convergence.notConvergedBecause(1, assignment([1, 1, 1, 1], [TO_ME]))).toMatch(
      /1 shards are/,
    );
  });
});
