/**
 * Changes that a control makes to the assignment, each from valid content to valid content. Pure;
 * the planner decides when.
 */
import {
  type AssignedEdge,
  type Content,
  type EdgeIdentity,
  type Intent,
  isSameEdge,
  isSameMove,
  type Move,
  NO_OWNER,
} from '../../common/cluster/assignment.js';
import { type MoveStep, stepWithoutEdges } from './moves.js';
import type { PlanStep } from './plan.js';

/**
 * Makes `members` the edges of the assignment. Shards of edges that have left become unowned, and
 * their moves end.
 */
export function adoptMembers(content: Content, members: readonly EdgeIdentity[]): Content {
  const before = new Map(content.edges.map((edge) => [edge.id, edge]));
  const edges = [...members]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map(({ id, incarnation, advertisedUrl, frontAddress }): AssignedEdge => {
      const known = before.get(id);
      // A drain applies to the process that was to end, not to its successor under the same id.
      const isOver = known?.intent === 'draining' && known.incarnation !== incarnation;
      const intent = isOver ? 'none' : (known?.intent ?? 'none');
      return { id, incarnation, advertisedUrl, frontAddress, intent };
    });
  const indexOf = new Map(edges.map((edge, index) => [edge.id, index]));
  const next = advanceMoves(content, (move) => stepWithoutEdges(move, (id) => indexOf.has(id)));
  const newIndex = content.edges.map((edge) => indexOf.get(edge.id) ?? NO_OWNER);
  const owners = next.owners.map((owner) => (owner === NO_OWNER ? owner : newIndex[owner]!));
  return { ...next, edges, owners };
}

/** Applies its next step to each move; a move that waits or has no step stays as it is. */
export function advanceMoves(
  content: Content,
  stepOf: (move: Move) => MoveStep | undefined,
): Content {
  const owners = Uint16Array.from(content.owners);
  const indexOf = new Map(content.edges.map((edge, index) => [edge.id, index]));
  const moves: Move[] = [];
  for (const move of content.moves) {
    const step = stepOf(move) ?? { type: 'wait' };
    if (step.type === 'wait') moves.push(move);
    if (step.type === 'hand-over') moves.push({ ...move, phase: 'handing-over' });
    if (step.type === 'hand-over' || step.type === 'done') {
      owners[move.shard] = indexOf.get(move.to)!;
    }
    if (step.type === 'roll-back') owners[move.shard] = indexOf.get(move.from)!;
  }
  return { ...content, owners, moves };
}

/**
 * Adds moves of shards that are not moving. Balancing and filling must be finished, also by the
 * next leader, so they set `isBalancing`. Emptying an edge needs no flag: its intent or its state
 * repeats the request.
 */
export function startMoves(
  content: Content,
  steps: readonly Omit<PlanStep, 'connections'>[],
): Content {
  const moves = [
    ...content.moves,
    ...steps.map(({ shard, from, to }): Move => ({ shard, from, to, phase: 'acquiring' })),
  ];
  const isBalancing = content.isBalancing || steps.some(({ kind }) => kind !== 'removal');
  return { ...content, moves: moves.sort((a, b) => a.shard - b.shard), isBalancing };
}

/**
 * Sets the intent of an edge and rolls back its acquiring moves that contradict it: moves to an
 * edge that must not get shards, and moves from an edge whose drain is cancelled.
 */
export function setIntent(content: Content, edgeId: string, intent: Intent): Content {
  const edges = content.edges.map((edge) => (edge.id === edgeId ? { ...edge, intent } : edge));
  const next = advanceMoves(content, (move) => {
    const isUnwanted =
      move.phase === 'acquiring' &&
      ((move.to === edgeId && intent !== 'none') || (move.from === edgeId && intent === 'none'));
    return isUnwanted ? { type: 'roll-back', reason: 'unwanted' } : undefined;
  });
  return { ...next, edges };
}

export function isSameContent(a: Content, b: Content): boolean {
  if (a === b) return true;
  return (
    a.edges.length === b.edges.length &&
    a.moves.length === b.moves.length &&
    a.isBalancing === b.isBalancing &&
    a.edges.every((edge, index) => isSameEdge(edge, b.edges[index]!)) &&
    a.moves.every((move, index) => isSameMove(move, b.moves[index]!)) &&
    a.owners.every((owner, shard) => owner === b.owners[shard])
  );
}
