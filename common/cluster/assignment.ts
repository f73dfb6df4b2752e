/**
 * The assignment: the whole map shard -> edge. Immutable; a change is a new assignment with a
 * higher position. It only tells a device where to connect: no push depends on it.
 *
 * Why a position has two numbers: suppose Redis fails over and loses epoch 8, which edges have
 * already seen. A leader that continued with another epoch 8 would split the cluster into edges
 * that believe the old 8 and edges that believe the new one. So it raises the incarnation instead:
 * everything of a higher incarnation supersedes everything of a lower one.
 *
 * The moves in flight are part of it, and all that is: whoever reads the table can go on with them.
 */
import {
  EdgeIntent,
  MovePhase,
  Assignment as Wire,
} from '../../proto/gen/longline/v1/assignment.js';

export interface Position {
  readonly incarnation: number;
  readonly epoch: number;
}

/** An edge as it describes itself. */
export interface EdgeIdentity {
  readonly id: string;
  /** Unique per process start. */
  readonly incarnation: string;
  /** Where devices reach the edge: scheme, host and port, without a path. */
  readonly advertisedUrl: string;
  /** `host:port` where the fronts of routers reach the edge; undefined: as in `advertisedUrl`. */
  readonly frontAddress?: string | undefined;
}

/** `cordoned`: gets no new shards. `draining`: is to lose all its shards. */
export type Intent = 'none' | 'cordoned' | 'draining';

export interface AssignedEdge extends EdgeIdentity {
  readonly intent: Intent;
}

export type Phase =
  /** `from` owns the shard, `to` subscribes and proves it. */
  | 'acquiring'
  /** `to` owns the shard, `from` is still subscribed and tells its clients to go. */
  | 'handing-over';

/** A shard on its way. */
export interface Move {
  readonly shard: number;
  /** Ids of two different edges of the assignment. */
  readonly from: string;
  readonly to: string;
  readonly phase: Phase;
}

/** What an assignment says, without its place in history. */
export interface Content {
  /** Sorted by id. */
  readonly edges: readonly AssignedEdge[];
  /** For each shard the index of its owner in `edges`, or `NO_OWNER`. */
  readonly owners: Uint16Array;
  /** Sorted by shard, at most one for each. */
  readonly moves: readonly Move[];
  /**
   * Edges are being evened out and are not as even as is aimed at yet: control has begun, and goes on
   * although what is left would not make it begin. In the table, so that a next leader does, too.
   */
  readonly isBalancing: boolean;
}

export interface Assignment extends Content {
  readonly position: Position;
}

export const NO_OWNER = 0xffff;

/** Before the first assignment. */
export const ORIGIN: Position = { incarnation: 0, epoch: 0 };

const INTENTS = {
  none: EdgeIntent.EDGE_INTENT_UNSPECIFIED,
  cordoned: EdgeIntent.EDGE_INTENT_CORDONED,
  draining: EdgeIntent.EDGE_INTENT_DRAINING,
} as const satisfies Record<Intent, EdgeIntent>;

const PHASES = {
  acquiring: MovePhase.MOVE_PHASE_ACQUIRING,
  'handing-over': MovePhase.MOVE_PHASE_HANDING_OVER,
} as const satisfies Record<Phase, MovePhase>;

/** Negative when `a` is older than `b`. */
export function comparePositions(a: Position, b: Position): number {
  return a.incarnation - b.incarnation || a.epoch - b.epoch;
}

export function ownerOf({ edges, owners }: Content, shard: number): AssignedEdge | undefined {
  const index = owners[shard];
  return index === undefined || index === NO_OWNER ? undefined : edges[index];
}

/** The shards that `edgeId` owns, ascending. */
export function shardsOf({ edges, owners }: Content, edgeId: string): number[] {
  const index = edges.findIndex((edge) => edge.id === edgeId);
  const shards: number[] = [];
  if (index < 0) return shards;
  for (let shard = 0; shard < owners.length; shard++) {
    if (owners[shard] === index) shards.push(shard);
  }
  return shards;
}

/** What makes no sense about `content`, if anything: every assignment that is written or read passes. */
export function findProblem({ edges, owners, moves }: Content): string | undefined {
  for (let i = 1; i < edges.length; i++) {
    if (edges[i - 1]!.id >= edges[i]!.id) return 'its edges are not sorted by unique id';
  }
  const stray = owners.findIndex((owner) => owner !== NO_OWNER && owner >= edges.length);
  if (stray >= 0) return `shard ${stray} belongs to an edge that is not listed`;
  const indexOf = new Map(edges.map((edge, index) => [edge.id, index]));
  let last = -1;
  for (const { shard, from, to, phase } of moves) {
    if (shard >= owners.length) return `shard ${shard} is to move, of ${owners.length}`;
    if (shard <= last) return 'its moves are not sorted by unique shard';
    last = shard;
    const move = `the move of shard ${shard} from ${from} to ${to}`;
    if (!indexOf.has(from) || !indexOf.has(to)) return `${move} is between edges not listed`;
    if (from === to) return `${move} leads nowhere`;
    const owner = phase === 'acquiring' ? from : to;
    if (owners[shard] !== indexOf.get(owner))
      return `${move} is ${phase}, but ${owner} is not owner`;
  }
  return undefined;
}

export function toWire({ position, edges, owners, moves, isBalancing }: Assignment): Wire {
  return {
    position: { ...position },
    edges: edges.map((edge) => ({ ...edge, intent: INTENTS[edge.intent] })),
    owners: Array.from(owners, (index) => (index === NO_OWNER ? 0 : index + 1)),
    moves: moves.map((move) => ({ ...move, phase: PHASES[move.phase] })),
    balancing: isBalancing,
  };
}

/** Reads an assignment from the wire or from Redis. Returns what is wrong with it as a string. */
export function fromWire(wire: Wire, shardCount: number): Assignment | string {
  if (wire.position === undefined) return 'it has no position';
  if (wire.owners.length !== shardCount) {
    return `it maps ${wire.owners.length} shards where ${shardCount} are expected`;
  }
  const owners = new Uint16Array(shardCount);
  for (let shard = 0; shard < shardCount; shard++) {
    const entry = wire.owners[shard]!;
    // Before the entry is cut to the 16 bits of an index.
    if (entry > wire.edges.length) return `shard ${shard} belongs to an edge that is not listed`;
    owners[shard] = entry === 0 ? NO_OWNER : entry - 1;
  }
  const edges: AssignedEdge[] = [];
  for (const edge of wire.edges) {
    const intent = keyOf(INTENTS, edge.intent);
    if (intent === undefined) return `edge ${edge.id} has an unknown intent`;
    edges.push({ ...edge, intent });
  }
  const moves: Move[] = [];
  for (const move of wire.moves) {
    const phase = keyOf(PHASES, move.phase);
    if (phase === undefined) return `the move of shard ${move.shard} is in an unknown phase`;
    moves.push({ ...move, phase });
  }
  const content = { edges, owners, moves, isBalancing: wire.balancing };
  return findProblem(content) ?? { position: { ...wire.position }, ...content };
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
