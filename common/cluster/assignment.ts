/**
 * The assignment: the whole map shard -> edge. Immutable; a change is a new assignment with a
 * higher position. It only determines where a device connects: no push depends on it.
 *
 * A position has two numbers for this reason: suppose Redis fails over and loses epoch 8, which
 * some edges have already received. A leader that continued with another epoch 8 would split the
 * cluster into edges that accepted the old 8 and edges that accepted the new one. So it raises the
 * incarnation instead: a higher incarnation supersedes every position of a lower one.
 *
 * The assignment contains the whole state of the moves in flight, so a new leader can continue
 * them.
 */
import {
  EdgeIntent,
  MovePhase,
  Assignment as Wire,
  type AssignedEdge as WireEdge,
  type Move as WireMove,
} from '../../proto/gen/longline/v1/assignment.js';
import type { Position } from '../wire/position.js';

/** An edge's description of itself. */
export interface EdgeIdentity {
  readonly id: string;
  /** Unique per process start. */
  readonly incarnation: string;
  /** The edge's URL for devices: scheme, host and port, without a path. */
  readonly advertisedUrl: string;
  /** `host:port` of the edge for front proxies; undefined: those of `advertisedUrl`. */
  readonly frontAddress?: string | undefined;
}

/** `cordoned`: the edge gets no new shards. `draining`: all its shards move away. */
export type Intent = 'none' | 'cordoned' | 'draining';

export interface AssignedEdge extends EdgeIdentity {
  readonly intent: Intent;
}

export type Phase =
  /** `from` owns the shard; `to` subscribes to it and proves delivery. */
  | 'acquiring'
  /** `to` owns the shard; `from` is still subscribed and sends its clients GOAWAYs. */
  | 'handing-over';

/** The change of a shard's owner, in progress. */
export interface Move {
  readonly shard: number;
  /** Ids of two different edges of the assignment. */
  readonly from: string;
  readonly to: string;
  readonly phase: Phase;
}

/** An assignment without its position. */
export interface Content {
  /** Sorted by id. */
  readonly edges: readonly AssignedEdge[];
  /** By shard: the index of its owner in `edges`, or `NO_OWNER`. */
  readonly owners: Uint16Array;
  /** Sorted by shard, at most one per shard. */
  readonly moves: readonly Move[];
  /**
   * Rebalancing has begun and has not reached its target. Control continues it even if the
   * remaining imbalance would not start it. Part of the assignment so that the next leader
   * continues, too.
   */
  readonly isBalancing: boolean;
}

export interface Assignment extends Content {
  readonly position: Position;
}

export const NO_OWNER = 0xffff;

const INTENTS = {
  none: EdgeIntent.EDGE_INTENT_UNSPECIFIED,
  cordoned: EdgeIntent.EDGE_INTENT_CORDONED,
  draining: EdgeIntent.EDGE_INTENT_DRAINING,
} as const satisfies Record<Intent, EdgeIntent>;

const PHASES = {
  acquiring: MovePhase.MOVE_PHASE_ACQUIRING,
  'handing-over': MovePhase.MOVE_PHASE_HANDING_OVER,
} as const satisfies Record<Phase, MovePhase>;

export function ownerOf({ edges, owners }: Content, shard: number): AssignedEdge | undefined {
  const index = owners[shard];
  return index === undefined || index === NO_OWNER ? undefined : edges[index];
}

/** The shards owned by `edgeId`, ascending. */
export function shardsOf({ edges, owners }: Content, edgeId: string): number[] {
  const index = edges.findIndex((edge) => edge.id === edgeId);
  const shards: number[] = [];
  if (index < 0) return shards;
  for (let shard = 0; shard < owners.length; shard++) {
    if (owners[shard] === index) shards.push(shard);
  }
  return shards;
}

export function isSameEdge(a: AssignedEdge, b: AssignedEdge): boolean {
  return (
    a.id === b.id &&
    a.incarnation === b.incarnation &&
    a.advertisedUrl === b.advertisedUrl &&
    a.frontAddress === b.frontAddress &&
    a.intent === b.intent
  );
}

export function isSameMove(a: Move, b: Move): boolean {
  return a.shard === b.shard && a.from === b.from && a.to === b.to && a.phase === b.phase;
}

/** Validates an assignment before it is written and after it is read. Returns the first error. */
export function findProblem({ edges, owners, moves }: Content): string | undefined {
  for (let i = 1; i < edges.length; i++) {
    if (edges[i - 1]!.id >= edges[i]!.id) return 'its edges are not sorted by unique id';
  }
  const invalid = owners.findIndex((owner) => owner !== NO_OWNER && owner >= edges.length);
  if (invalid >= 0) return `the owner of shard ${invalid} is not in its edges`;
  const indexOf = new Map(edges.map((edge, index) => [edge.id, index]));
  let last = -1;
  for (const { shard, from, to, phase } of moves) {
    if (shard >= owners.length) return `it moves shard ${shard} of ${owners.length}`;
    if (shard <= last) return 'its moves are not sorted by unique shard';
    last = shard;
    const move = `the move of shard ${shard} from ${from} to ${to}`;
    if (!indexOf.has(from) || !indexOf.has(to))
      return `${move} has an edge that is not in its edges`;
    if (from === to) return `${move} ends where it begins`;
    const owner = phase === 'acquiring' ? from : to;
    if (owners[shard] !== indexOf.get(owner))
      return `${move} is ${phase}, but ${owner} is not the owner`;
  }
  return undefined;
}

export function toWire({ position, edges, owners, moves, isBalancing }: Assignment): Wire {
  return {
    position: { ...position },
    edges: edges.map(edgeToWire),
    owners: Array.from(owners, ownerToWire),
    moves: moves.map(moveToWire),
    balancing: isBalancing,
  };
}

export function edgeToWire(edge: AssignedEdge): WireEdge {
  return { ...edge, intent: INTENTS[edge.intent] };
}

export function moveToWire(move: Move): WireMove {
  return { ...move, phase: PHASES[move.phase] };
}

export function ownerToWire(index: number): number {
  return index === NO_OWNER ? 0 : index + 1;
}

/**
 * Converts an assignment from the wire or from Redis. Returns a string if it is invalid: the error.
 */
export function fromWire(wire: Wire, shardCount: number): Assignment | string {
  if (wire.position === undefined) return 'it has no position';
  if (wire.owners.length !== shardCount) {
    return `it maps ${wire.owners.length} shards where ${shardCount} are expected`;
  }
  const owners = new Uint16Array(shardCount);
  for (let shard = 0; shard < shardCount; shard++) {
    const owner = ownerFromWire(wire.owners[shard]!, wire.edges.length);
    if (owner === undefined) return `the owner of shard ${shard} is not in its edges`;
    owners[shard] = owner;
  }
  const edges = edgesFromWire(wire.edges);
  if (typeof edges === 'string') return edges;
  const moves = movesFromWire(wire.moves);
  if (typeof moves === 'string') return moves;
  const content = { edges, owners, moves, isBalancing: wire.balancing };
  return findProblem(content) ?? { position: { ...wire.position }, ...content };
}

/** Undefined: no such edge. Checked before the entry is truncated to the 16 bits of an index. */
export function ownerFromWire(entry: number, edgeCount: number): number | undefined {
  if (entry > edgeCount) return undefined;
  return entry === 0 ? NO_OWNER : entry - 1;
}

/** Returns a string if one of them is invalid: the error. */
export function edgesFromWire(wire: readonly WireEdge[]): AssignedEdge[] | string {
  const edges: AssignedEdge[] = [];
  for (const edge of wire) {
    const intent = keyOf(INTENTS, edge.intent);
    if (intent === undefined) return `edge ${edge.id} has an unknown intent`;
    edges.push({ ...edge, intent });
  }
  return edges;
}

/** Returns a string if one of them is invalid: the error. */
export function movesFromWire(wire: readonly WireMove[]): Move[] | string {
  const moves: Move[] = [];
  for (const move of wire) {
    const phase = keyOf(PHASES, move.phase);
    if (phase === undefined) return `the move of shard ${move.shard} is in an unknown phase`;
    moves.push({ ...move, phase });
  }
  return moves;
}

export function encodeAssignment(assignment: Assignment): Buffer {
  return Buffer.from(Wire.encode(toWire(assignment)).finish());
}

export function decodeAssignment(bytes: Uint8Array, shardCount: number): Assignment | string {
  let wire: Wire;
  try {
    wire = Wire.decode(bytes);
  } catch (error) {
    return `it cannot be decoded: ${(error as Error).message}`;
  }
  return fromWire(wire, shardCount);
}

function keyOf<Key extends string>(table: Record<Key, number>, value: number): Key | undefined {
  return (Object.keys(table) as Key[]).find((key) => table[key] === value);
}
