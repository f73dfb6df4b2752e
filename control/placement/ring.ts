/**
 * The ring: the order in which a shard prefers the edges. It is a preference only; the assignment
 * decides.
 *
 * Two processes must compute the same ring. A ring of a thousand edges has 256,000 points, in typed
 * arrays, because control keeps it. The points of a node are remembered, and so is the last ring,
 * with which most plans are made.
 *
 * Invariants:
 * - The ring is a function of the set of nodes.
 * - Removing a node changes the first preference of its own shards only, except for the rare point
 *   that another node also hashes to.
 */
import { createHash } from 'node:crypto';

export interface RingNode {
  readonly id: string;
  /** A node of weight 2 gets twice as many shards as one of weight 1. */
  readonly weight: number;
}

export interface Ring {
  /** Every node once, most preferred first. Lazy: reading only the first costs one lookup. */
  preference(shard: number): Iterable<string>;
}

/** The largest prime below 2^24. */
const RANGE = 16_777_213;

/** More points do not help: beyond this, the hashes of the shards are the larger noise. */
const POINTS_PER_WEIGHT = 256;

/** Nodes whose points are remembered. */
const POINTS_REMEMBERED = 4_096;

/** More than the nodes of any ring: an assignment has 16 bits for the index of an edge. */
const NODES_MAX = 2 ** 16;

/** By count and id of a node. */
const pointsRemembered = new Map<string, Uint32Array>();
let last: { readonly key: string; readonly ring: Ring } | undefined;

export function buildRing(nodes: readonly RingNode[]): Ring {
  const key = JSON.stringify(nodes);
  if (last?.key !== key) last = { key, ring: newRing(nodes) };
  return last.ring;
}

function newRing(nodes: readonly RingNode[]): Ring {
  const ascending = [...nodes].sort((a, b) => (a.id < b.id ? -1 : 1));
  const ids = ascending.map(({ id }) => id);
  const { points, owners } = sortPoints(ascending.map(pointsOf));
  return {
    *preference(shard) {
      const seen = new Set<number>();
      const start = firstFrom(points, placeOf(shard));
      for (let i = 0; i < points.length && seen.size < ids.length; i++) {
        const owner = owners[(start + i) % points.length]!;
        if (seen.has(owner)) continue;
        seen.add(owner);
        yield ids[owner]!;
      }
    },
  };
}

/** The points of all nodes in their order, and the node of each. */
function sortPoints(ofNodes: readonly Uint32Array[]) {
  const count = ofNodes.reduce((sum, { length }) => sum + length, 0);
  // Point and node in one number: typed arrays sort numbers without calls of a comparator.
  const keys = new Float64Array(count);
  let at = 0;
  for (const [node, points] of ofNodes.entries()) {
    for (const point of points) keys[at++] = point * NODES_MAX + node;
  }
  keys.sort();
  const points = new Uint32Array(count);
  const owners = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    points[i] = Math.floor(keys[i]! / NODES_MAX);
    // A point of two nodes goes to the one with the lower id.
    owners[i] = points[i] === points[i - 1] ? owners[i - 1]! : keys[i]! % NODES_MAX;
  }
  return { points, owners };
}

/** Index of the first point that is not below `place`; behind the last one the ring begins again. */
function firstFrom(points: Uint32Array, place: number): number {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (points[middle]! < place) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** At least one point. A heavier node has all points of a lighter one and more. */
function pointsOf({ id, weight }: RingNode): Uint32Array {
  const count = Math.max(1, Math.round(POINTS_PER_WEIGHT * weight));
  const key = `${count} ${id}`;
  const points = pointsRemembered.get(key) ?? computePoints(id, count);
  // The oldest entry goes first; a node that is still there comes last again.
  pointsRemembered.delete(key);
  pointsRemembered.set(key, points);
  const [oldest] = pointsRemembered.keys();
  if (pointsRemembered.size > POINTS_REMEMBERED) pointsRemembered.delete(oldest!);
  return points;
}

function computePoints(id: string, count: number): Uint32Array {
  const points = new Set<number>();
  for (let k = 0; points.size < count; k++) {
    const digest = createHash('sha256').update(`${id}\0${k}`).digest();
    for (let offset = 0; offset < digest.length && points.size < count; offset += 4) {
      points.add(digest.readUInt32BE(offset) % RANGE);
    }
  }
  return Uint32Array.from(points);
}

/** The place of a shard on the ring. */
function placeOf(shard: number): number {
  return (mix24(shard) * 32) % RANGE;
}

/** The finalizer of MurmurHash3 (fmix32), truncated to 24 bits. */
function mix24(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) & 0xffffff;
}
