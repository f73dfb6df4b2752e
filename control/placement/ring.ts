/**
 * The ring: the order in which a shard prefers the edges. It is a preference only; the assignment
 * decides.
 *
 * Two processes must compute the same ring, which restricts how `consistent-hash` can be used: a
 * new instance for every membership (its `remove` breaks the next `add`), nodes added in the
 * reverse order of their ids, and explicit points (its own are random). A ring of a thousand edges
 * has 256,000 points. So the points of a node are remembered, and so is the last ring, with which
 * most plans are made.
 *
 * Invariants:
 * - The ring is a function of the set of nodes.
 * - Removing a node changes the first preference of its own shards only, except for the rare point
 *   that another node also hashes to.
 */
import { createHash } from 'node:crypto';
import ConsistentHash from 'consistent-hash';

export interface RingNode {
  readonly id: string;
  /** A node of weight 2 gets twice as many shards as one of weight 1. */
  readonly weight: number;
}

export interface Ring {
  /** Every node once, most preferred first. Lazy: reading only the first costs one lookup. */
  preference(shard: number): Iterable<string>;
}

/** The largest prime below 2^24: `mix24` has 24 bits. */
const RANGE = 16_777_213;

/** More points do not help: beyond this, the hashes of the shards are the larger noise. */
const POINTS_PER_WEIGHT = 256;

/** Nodes whose points are remembered. */
const POINTS_REMEMBERED = 4_096;

/** By count and id of a node. */
const pointsRemembered = new Map<string, number[]>();
let last: { readonly key: string; readonly ring: Ring } | undefined;

export function buildRing(nodes: readonly RingNode[]): Ring {
  const key = JSON.stringify(nodes);
  if (last?.key !== key) last = { key, ring: newRing(nodes) };
  return last.ring;
}

function newRing(nodes: readonly RingNode[]): Ring {
  const ring = new ConsistentHash({ range: RANGE });
  // The library's own hash clusters names that differ in their last digits.
  ring._hash = (name) => mix24(Number(name));
  // A point of two nodes goes to the one that is added last: the one with the lower id.
  const descending = [...nodes].sort((a, b) => (a.id > b.id ? -1 : 1));
  const points = descending.map(pointsOf);
  for (const [i, { id }] of descending.entries()) ring.add(id, points[i]!.length, points[i]!);
  // The library would sort them by a comparator in JavaScript.
  ring._keys = Uint32Array.from(points.flat()).sort();
  return {
    *preference(shard) {
      const name = String(shard);
      let yielded = 0;
      for (let count = 1; yielded < nodes.length; count *= 4) {
        const found = ring.get(name, Math.min(count, nodes.length)) ?? [];
        yield* found.slice(yielded);
        yielded = found.length;
      }
    },
  };
}

/** At least one point. A heavier node has all points of a lighter one and more. */
function pointsOf({ id, weight }: RingNode): number[] {
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

function computePoints(id: string, count: number): number[] {
  const points = new Set<number>();
  for (let k = 0; points.size < count; k++) {
    const digest = createHash('sha256').update(`${id}\0${k}`).digest();
    for (let offset = 0; offset < digest.length && points.size < count; offset += 4) {
      points.add(digest.readUInt32BE(offset) % RANGE);
    }
  }
  return [...points];
}

/** The finalizer of MurmurHash3 (fmix32), truncated to the 24 bits that the library supports. */
function mix24(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) & 0xffffff;
}
