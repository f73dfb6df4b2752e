/**
 * Deltas: the difference between two assignments, which control sends to edges and routers that
 * have the earlier one. Of thousands of edges, one change concerns few, and the whole assignment
 * would be hundreds of kilobytes to each. Pure.
 *
 * Positions tell which assignment a delta changes. They cannot tell two assignments apart that two
 * controls have written at the same position, after Redis lost the first one. So a delta carries a
 * checksum of its result.
 */
import { crc32 } from 'node:zlib';
import type {
  Assignment as WholeWire,
  AssignmentDelta as Wire,
} from '../../proto/gen/longline/v1/assignment.js';
import { comparePositions } from '../wire/position.js';
import {
  type AssignedEdge,
  type Assignment,
  type Content,
  edgesFromWire,
  edgeToWire,
  findProblem,
  isSameEdge,
  isSameMove,
  type Move,
  movesFromWire,
  moveToWire,
  NO_OWNER,
  ownerFromWire,
  ownerToWire,
} from './assignment.js';

/** A message of control: an assignment, a delta, or neither. */
export interface AssignmentUpdate {
  readonly assignment: WholeWire | undefined;
  readonly delta: Wire | undefined;
}

export function deltaBetween(before: Assignment, after: Assignment): Wire {
  const movesBefore = byKey(before.moves, ({ shard }) => shard);
  const movesAfter = byKey(after.moves, ({ shard }) => shard);
  const isNewMove = (move: Move) => !isEqual(movesBefore.get(move.shard), move, isSameMove);
  const kept = remapped(before, after.edges);
  const shards: number[] = [];
  const owners: number[] = [];
  for (let shard = 0; shard < kept.length; shard++) {
    const owner = after.owners[shard]!;
    if (kept[shard] === owner) continue;
    shards.push(shard);
    owners.push(ownerToWire(owner));
  }
  return {
    base: { ...before.position },
    position: { ...after.position },
    checksum: checksumOf(after),
    ...edgesBetween(before.edges, after.edges),
    shards,
    owners,
    moves: after.moves.filter(isNewMove).map(moveToWire),
    movesEnded: before.moves.flatMap(({ shard }) => (movesAfter.has(shard) ? [] : [shard])),
    balancing: after.isBalancing,
  };
}

function edgesBetween(
  before: readonly AssignedEdge[],
  after: readonly AssignedEdge[],
): Pick<Wire, 'edges' | 'edgesLeft'> {
  if (before === after) return { edges: [], edgesLeft: [] };
  const wereThere = byKey(before, ({ id }) => id);
  const areThere = byKey(after, ({ id }) => id);
  return {
    edges: after
      .filter((edge) => !isEqual(wereThere.get(edge.id), edge, isSameEdge))
      .map(edgeToWire),
    edgesLeft: before.flatMap(({ id }) => (areThere.has(id) ? [] : [id])),
  };
}

/** Returns a string if the delta does not fit: the reason. */
export function applyDelta(base: Assignment, delta: Wire): Assignment | string {
  const { position, shards } = delta;
  if (delta.base === undefined || position === undefined) return 'a position is missing';
  if (comparePositions(delta.base, base.position) !== 0) return 'it changes another assignment';
  const edges = changedEdges(base.edges, delta);
  if (typeof edges === 'string') return edges;
  const moves = changedMoves(base.moves, delta);
  if (typeof moves === 'string') return moves;
  const owners = remapped(base, edges);
  for (const [i, shard] of shards.entries()) {
    const owner = ownerFromWire(delta.owners[i] ?? 0, edges.length);
    if (owner === undefined || shard >= owners.length) return `shard ${shard} has a wrong owner`;
    owners[shard] = owner;
  }
  const content = { edges, owners, moves, isBalancing: delta.balancing };
  if (checksumOf(content) !== delta.checksum) return 'the result has another checksum';
  return findProblem(content) ?? { position: { ...position }, ...content };
}

/** By the list of edges, which few changes replace. */
const edgesChecksums = new WeakMap<readonly AssignedEdge[], number>();

/**
 * CRC-32 of the edges, the owners as little-endian 16-bit integers, and the rest, in this order.
 */
export function checksumOf({ edges, owners, moves, isBalancing }: Content): number {
  let checksum = edgesChecksums.get(edges);
  if (checksum === undefined) {
    const described = edges.map(({ id, incarnation, advertisedUrl, frontAddress, intent }) => {
      return [id, incarnation, advertisedUrl, frontAddress ?? '', intent].join('\0');
    });
    checksum = crc32(described.join('\n'));
    edgesChecksums.set(edges, checksum);
  }
  const { buffer, byteOffset, byteLength } = owners;
  checksum = crc32(new Uint8Array(buffer, byteOffset, byteLength), checksum);
  const described = moves.map(({ shard, from, to, phase }) => `${shard}\0${from}\0${to}\0${phase}`);
  return crc32(`${described.join('\n')}\n${isBalancing}`, checksum);
}

function changedEdges(
  before: readonly AssignedEdge[],
  { edges, edgesLeft }: Wire,
): readonly AssignedEdge[] | string {
  if (edges.length === 0 && edgesLeft.length === 0) return before;
  const changed = edgesFromWire(edges);
  if (typeof changed === 'string') return changed;
  const byId = byKey(before, ({ id }) => id);
  for (const id of edgesLeft) byId.delete(id);
  for (const edge of changed) byId.set(edge.id, edge);
  return [...byId.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function changedMoves(before: readonly Move[], { moves, movesEnded }: Wire): Move[] | string {
  const changed = movesFromWire(moves);
  if (typeof changed === 'string') return changed;
  const byShard = byKey(before, ({ shard }) => shard);
  for (const shard of movesEnded) byShard.delete(shard);
  for (const move of changed) byShard.set(move.shard, move);
  return [...byShard.values()].sort((a, b) => a.shard - b.shard);
}

/** The owners as indexes of other edges; `NO_OWNER` where the owner is not among them. */
function remapped(
  { edges, owners }: Pick<Content, 'edges' | 'owners'>,
  others: readonly AssignedEdge[],
): Uint16Array {
  if (edges === others) return Uint16Array.from(owners);
  const indexOf = new Map(others.map(({ id }, index) => [id, index]));
  const indexes = edges.map(({ id }) => indexOf.get(id) ?? NO_OWNER);
  return owners.map((owner) => (owner === NO_OWNER ? NO_OWNER : indexes[owner]!));
}

function byKey<Key, Value>(values: readonly Value[], keyOf: (value: Value) => Key) {
  return new Map(values.map((value) => [keyOf(value), value]));
}

function isEqual<Value>(
  a: Value | undefined,
  b: Value,
  isSame: (a: Value, b: Value) => boolean,
): boolean {
  return a !== undefined && (a === b || isSame(a, b));
}
