/**
 * The assignment: the whole map shard -> edge. Immutable; a change is a new assignment with a
 * higher position. It only tells a device where to connect: no push depends on it.
 *
 * Why a position has two numbers: suppose Redis fails over and loses epoch 8, which edges have
 * already seen. A leader that continued with another epoch 8 would split the cluster into edges
 * that believe the old 8 and edges that believe the new one. So it raises the incarnation instead:
 * everything of a higher incarnation supersedes everything of a lower one.
 */
import { Assignment as Wire } from '../proto/gen/longline/v1/assignment.js';

export interface Position {
  readonly incarnation: number;
  readonly epoch: number;
}

export interface AssignedEdge {
  readonly id: string;
  /** Unique per process start. */
  readonly incarnation: string;
  /** Where devices reach the edge: scheme, host and port, without a path. */
  readonly advertisedUrl: string;
}

export interface Assignment {
  readonly position: Position;
  /** Sorted by id. */
  readonly edges: readonly AssignedEdge[];
  /** For each shard the index of its owner in `edges`, or `NO_OWNER`. */
  readonly owners: Uint16Array;
}

export const NO_OWNER = 0xffff;

/** Before the first assignment. */
export const ORIGIN: Position = { incarnation: 0, epoch: 0 };

/** Negative when `a` is older than `b`. */
export function comparePositions(a: Position, b: Position): number {
  return a.incarnation - b.incarnation || a.epoch - b.epoch;
}

export function ownerOf(assignment: Assignment, shard: number): AssignedEdge | undefined {
  const index = assignment.owners[shard];
  return index === undefined || index === NO_OWNER ? undefined : assignment.edges[index];
}

/** The shards that `edgeId` owns, ascending. */
export function shardsOf(assignment: Assignment, edgeId: string): number[] {
  const index = assignment.edges.findIndex((edge) => edge.id === edgeId);
  const shards: number[] = [];
  if (index < 0) return shards;
  for (let shard = 0; shard < assignment.owners.length; shard++) {
    if (assignment.owners[shard] === index) shards.push(shard);
  }
  return shards;
}

export function toWire(assignment: Assignment): Wire {
  return {
    position: { ...assignment.position },
    edges: assignment.edges.map((edge) => ({ ...edge })),
    owners: Array.from(assignment.owners, (index) => (index === NO_OWNER ? 0 : index + 1)),
  };
}

/** Reads an assignment from the wire or from Redis. Returns what is wrong with it as a string. */
export function fromWire(wire: Wire, shardCount: number): Assignment | string {
  if (wire.position === undefined) return 'it has no position';
  if (wire.owners.length !== shardCount) {
    return `it maps ${wire.owners.length} shards where ${shardCount} are expected`;
  }
  for (let i = 1; i < wire.edges.length; i++) {
    if (wire.edges[i - 1]!.id >= wire.edges[i]!.id) return 'its edges are not sorted by unique id';
  }
  const owners = new Uint16Array(shardCount);
  for (let shard = 0; shard < shardCount; shard++) {
    const entry = wire.owners[shard]!;
    if (entry > wire.edges.length) return `shard ${shard} belongs to an edge that is not listed`;
    owners[shard] = entry === 0 ? NO_OWNER : entry - 1;
  }
  return { position: { ...wire.position }, edges: wire.edges.map((e) => ({ ...e })), owners };
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
