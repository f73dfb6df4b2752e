/**
 * Transitions: the changes that a control makes to the table, each from one content that makes
 * sense to the next. Pure; the planner decides when.
 */
import {
  type AssignedEdge,
  type Content,
  type EdgeIdentity,
  type Intent,
  type Move,
  NO_OWNER,
} from '../../common/cluster/assignment.js';
import { type MoveStep, stepWithout } from './moves.js';
import type { Step } from './plan.js';

/** Takes the present members for the edges. Shards of those that are gone are left without owner. */
export function adoptMembers(content: Content, members: readonly EdgeIdentity[]): Content {
  const before = new Map(content.edges.map((edge) => [edge.id, edge]));
  const edges = [...members]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map(({ id, incarnation, advertisedUrl, frontAddress }): AssignedEdge => {
      const known = before.get(id);
      // Draining is about a process that wants to end; that of a new one has begun.
      const isOver = known?.intent === 'draining' && known.incarnation !== incarnation;
      const intent = isOver ? 'none' : (known?.intent ?? 'none');
      return { id, incarnation, advertisedUrl, frontAddress, intent };
    });
  const indexOf = new Map(edges.map((edge, index) => [edge.id, index]));
  const settled = settleMoves(content, (move) => stepWithout(move, (id) => indexOf.has(id)));
  const newIndex = content.edges.map((edge) => indexOf.get(edge.id) ?? NO_OWNER);
  const owners = settled.owners.map((owner) => (owner === NO_OWNER ? owner : newIndex[owner]!));
  return { ...settled, edges, owners };
}

/** Takes each move one step further; one without a step, or that waits, stays as it is. */
export function settleMoves(
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
 * Begins moves of shards that none is in flight for. What evens edges out is to be finished, and the
 * table says so; what empties an edge is wanted by its intent, which is there, too.
 */
export function beginMoves(content: Content, begun: readonly Omit<Step, 'connections'>[]): Content {
  const moves = [
    ...content.moves,
    ...begun.map(({ shard, from, to }): Move => ({ shard, from, to, phase: 'acquiring' })),
  ];
  const isBalancing = content.isBalancing || begun.some(({ kind }) => kind !== 'removal');
  return { ...content, moves: moves.sort((a, b) => a.shard - b.shard), isBalancing };
}

/**
 * What is wanted of an edge that is taken back, or is to get nothing any more, undoes the moves that
 * have not been noticed yet.
 */
export function setIntent(content: Content, edgeId: string, intent: Intent): Content {
  const edges = content.edges.map((edge) => (edge.id === edgeId ? { ...edge, intent } : edge));
  const settled = settleMoves(content, (move) => {
    const isUnwanted =
      move.phase === 'acquiring' &&
      ((move.to === edgeId && intent !== 'none') || (move.from === edgeId && intent === 'none'));
    return isUnwanted ? { type: 'roll-back', why: 'unwanted' } : undefined;
  });
  return { ...settled, edges };
}

export function isSameContent(a: Content, b: Content): boolean {
  return (
    a.edges.length === b.edges.length &&
    a.moves.length === b.moves.length &&
    a.isBalancing === b.isBalancing &&
    a.edges.every((edge, index) => isSameEdge(edge, b.edges[index]!)) &&
    a.moves.every((move, index) => isSameMove(move, b.moves[index]!)) &&
    a.owners.every((owner, shard) => owner === b.owners[shard])
  );
}

export function isSameMove(a: Move, b: Move): boolean {
  return a.shard === b.shard && a.from === b.from && a.to === b.to && a.phase === b.phase;
}

function isSameEdge(a: AssignedEdge, b: AssignedEdge): boolean {
  return (
    a.id === b.id &&
    a.incarnation === b.incarnation &&
    a.advertisedUrl === b.advertisedUrl &&
    a.frontAddress === b.frontAddress &&
    a.intent === b.intent
  );
}
