/**
 * Differences between two assignments, as entries of the event log. Any control that follows the
 * stored assignment can derive them, whichever control has written it.
 */
import {
  type AssignedEdge,
  type Assignment,
  type Content,
  type Intent,
  type Move,
  ownerOf,
} from '../../common/cluster/assignment.js';

export interface MoveChange {
  readonly type: 'move-started' | 'move-handed-over' | 'move-completed' | 'move-rolled-back';
  readonly shard: number;
  readonly from: string;
  readonly to: string;
}

export type Change =
  /** Positions continue with a higher incarnation, because Redis had lost writes. */
  | { readonly type: 'history-abandoned'; readonly incarnation: number }
  | { readonly type: 'edge-joined'; readonly edgeId: string }
  /** The edge is no longer a member: it is dead, or has shut down after a drain. */
  | { readonly type: 'edge-left'; readonly edgeId: string; readonly shards: number }
  | { readonly type: 'edge-restarted'; readonly edgeId: string }
  | { readonly type: 'intent-changed'; readonly edgeId: string; readonly intent: Intent }
  | MoveChange
  /** Balancing continues, also under another leader, until the load is inside the band. */
  | { readonly type: 'balancing-started' }
  | { readonly type: 'balancing-finished' }
  /** Shards that got an owner without a move: they had none, or their owner had left. */
  | { readonly type: 'shards-placed'; readonly to: string; readonly shards: number };

const CHANGE_TYPES: Readonly<Record<Change['type'], true>> = {
  'history-abandoned': true,
  'edge-joined': true,
  'edge-left': true,
  'edge-restarted': true,
  'intent-changed': true,
  'move-started': true,
  'move-handed-over': true,
  'move-completed': true,
  'move-rolled-back': true,
  'balancing-started': true,
  'balancing-finished': true,
  'shards-placed': true,
};

/** Whether the entry is a difference between two assignments. */
export function isChange(entry: { readonly type: string }): entry is Change {
  return Object.hasOwn(CHANGE_TYPES, entry.type);
}

const EMPTY: Content = { edges: [], owners: new Uint16Array(), moves: [], isBalancing: false };

/** @param before undefined: there was no assignment */
export function changesBetween(before: Assignment | undefined, after: Assignment): Change[] {
  const was: Content = before ?? EMPTY;
  const changes: Change[] = [];
  const { incarnation } = after.position;
  if (before !== undefined && incarnation > before.position.incarnation) {
    changes.push({ type: 'history-abandoned', incarnation });
  }
  changes.push(...edgeChanges(was, after));
  if (was.isBalancing !== after.isBalancing) {
    changes.push({ type: after.isBalancing ? 'balancing-started' : 'balancing-finished' });
  }
  const moves = moveChanges(was, after);
  return [...changes, ...moves, ...placements(was, after, new Set(moves.map((m) => m.shard)))];
}

function edgeChanges(before: Content, after: Content): Change[] {
  const byId = (edges: readonly AssignedEdge[]) => new Map(edges.map((edge) => [edge.id, edge]));
  const [was, is] = [byId(before.edges), byId(after.edges)];
  const changes: Change[] = [];
  for (const [index, { id: edgeId }] of before.edges.entries()) {
    if (is.has(edgeId)) continue;
    const shards = before.owners.filter((owner) => owner === index).length;
    changes.push({ type: 'edge-left', edgeId, shards });
  }
  for (const { id: edgeId, incarnation, intent } of after.edges) {
    const edge = was.get(edgeId);
    if (edge === undefined) changes.push({ type: 'edge-joined', edgeId });
    else if (edge.incarnation !== incarnation) changes.push({ type: 'edge-restarted', edgeId });
    if (intent !== (edge?.intent ?? 'none'))
      changes.push({ type: 'intent-changed', edgeId, intent });
  }
  return changes;
}

function moveChanges(before: Content, after: Content): MoveChange[] {
  const byShard = (moves: readonly Move[]) => new Map(moves.map((move) => [move.shard, move]));
  const [was, is] = [byShard(before.moves), byShard(after.moves)];
  const isSame = (a: Move | undefined, b: Move) => a?.from === b.from && a.to === b.to;
  const changes: MoveChange[] = [];
  for (const move of before.moves) {
    const { shard, from, to } = move;
    if (isSame(is.get(shard), move)) continue;
    const type = ownerOf(after, shard)?.id === to ? 'move-completed' : 'move-rolled-back';
    changes.push({ type, shard, from, to });
  }
  for (const move of after.moves) {
    const { shard, from, to, phase } = move;
    const earlier = was.get(shard);
    if (!isSame(earlier, move)) changes.push({ type: 'move-started', shard, from, to });
    else if (earlier!.phase !== phase) changes.push({ type: 'move-handed-over', shard, from, to });
  }
  return changes;
}

/** Counts per edge the shards that it got without a move. */
function placements(before: Content, after: Content, moved: ReadonlySet<number>): Change[] {
  const placed = new Map<string, number>();
  for (let shard = 0; shard < after.owners.length; shard++) {
    const to = ownerOf(after, shard)?.id;
    if (to === undefined || to === ownerOf(before, shard)?.id || moved.has(shard)) continue;
    placed.set(to, (placed.get(to) ?? 0) + 1);
  }
  return [...placed].map(([to, shards]) => ({ type: 'shards-placed', to, shards }));
}
