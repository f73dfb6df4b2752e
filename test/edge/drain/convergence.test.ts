import { describe, expect, test } from '@jest/globals';
import type { AssignedEdge, Assignment, Intent, Move } from '../../../common/cluster/assignment.js';
import { Convergence } from '../../../edge/drain/convergence.js';

/** Four shards; `owners` are indexes of edges. */
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

const TO_EDGE_0: Move = { shard: 0, from: 'edge-1', to: 'edge-0', phase: 'acquiring' };

const NOW_MS = 1_000;

describe('an edge', () => {
  test('has not converged before an assignment contains it', () => {
    const convergence = new Convergence('edge-9', 'i');
    const reasons = ['the edge is not part of an assignment yet'];
    expect(convergence.notConvergedReasons(0, undefined)).toEqual(reasons);
    expect(convergence.notConvergedReasons(99_000, assignment([0, 0, 1, 1]))).toEqual(reasons);
  });

  test('has converged at once when it owns its share, as after a restart in place', () => {
    const convergence = new Convergence('edge-0', 'i');
    expect(convergence.notConvergedReasons(0, assignment([0, 0, 1, 1]))).toEqual([]);
  });

  test('has not converged while shards move to it, however long that takes', () => {
    const convergence = new Convergence('edge-0', 'i');
    const moving = assignment([1, 0, 1, 1], [TO_EDGE_0]);
    const reasons = ['1 shards are moving to or from the edge'];
    expect(convergence.notConvergedReasons(0, moving)).toEqual(reasons);
    expect(convergence.notConvergedReasons(90_000, moving)).toEqual(reasons);
    expect(convergence.notConvergedReasons(90_001, assignment([0, 0, 1, 1]))).toEqual([]);
  });

  test('has not converged between two batches of moves', () => {
    const convergence = new Convergence('edge-0', 'i');
    convergence.notConvergedReasons(0, assignment([1, 1, 1, 1], [TO_EDGE_0]));
    expect(convergence.notConvergedReasons(1, assignment([1, 1, 1, 1]))).toEqual([
      'the edge owns 0 shards and waits for more',
    ]);
  });

  test('waits no longer when nothing has moved for half a minute', () => {
    const convergence = new Convergence('edge-0', 'i');
    const paused = assignment([1, 1, 1, 1]);
    expect(convergence.notConvergedReasons(NOW_MS, paused)).toHaveLength(1);
    expect(convergence.notConvergedReasons(NOW_MS + 29_999, paused)).toHaveLength(1);
    expect(convergence.notConvergedReasons(NOW_MS + 30_000, paused)).toEqual([]);
  });

  test('stays converged when shards move later', () => {
    const convergence = new Convergence('edge-0', 'i');
    convergence.notConvergedReasons(0, assignment([0, 0, 1, 1]));
    expect(convergence.notConvergedReasons(1, assignment([1, 1, 1, 1], [TO_EDGE_0]))).toEqual([]);
  });

  test('waits for nothing when operators keep it empty', () => {
    const cordoned = assignment([1, 1, 1, 1], [], ['cordoned', 'none']);
    expect(new Convergence('edge-0', 'i').notConvergedReasons(0, cordoned)).toEqual([]);
  });

  test('waits although the previous process was draining', () => {
    const convergence = new Convergence('edge-0', 'next');
    const draining = assignment([1, 1, 1, 1], [], ['draining', 'none']);
    expect(convergence.notConvergedReasons(0, draining)).toEqual([
      expect.stringMatching(/owns 0 shards/),
    ]);
    expect(convergence.notConvergedReasons(1, assignment([1, 1, 1, 1], [TO_EDGE_0]))).toEqual([
      expect.stringMatching(/1 shards are/),
    ]);
  });
});
