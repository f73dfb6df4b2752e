/**
 * The ring: which edges a shard prefers, in which order. It is a preference only; the assignment
 * decides.
 *
 * `consistent-hash` is used in the one way in which two processes always agree: a fresh ring for
 * every membership (its `remove` breaks the next `add`), nodes added in the order of their ids,
 * points given explicitly (its own are random) and no point given twice (which of two nodes kept
 * it would depend on the history).
 *
 * Invariants: the ring is a function of the set of nodes; a node that leaves changes the first
 * preference of its own shards only, but for the rare point that it had contested.
 */
import { createHash } from 'node:crypto';
import ConsistentHash from 'consistent-hash';

export interface RingNode {
  readonly id: string;
  /** 1 is an ordinary node, 2 one that is to get twice as much. */
  readonly weight: number;
}

export interface Ring {
  /** Every node once, most preferred first. Lazy: whoever needs only the first pays for one. */
  preference(shard: number): Iterable<string>;
}

/** The largest prime below 2^24, as the library's hash has 24 bits. */
const RANGE = 16_777_213;

/** More would not help: from here on the hashed shards themselves are the larger noise. */
const POINTS_PER_WEIGHT = 256;

export function buildRing(nodes: readonly RingNode[]): Ring {
  const ring = new ConsistentHash({ range: RANGE });
  // The library's own hash clusters names that differ in their last digits.
  ring._hash = (name) => mix24(Number(name));
  const taken = new Set<number>();
  for (const node of [...nodes].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    // A contested point stays with the lowest id, which comes first.
    const points = pointsOf(node).filter((point) => !taken.has(point));
    for (const point of points) taken.add(point);
    ring.add(node.id, points.length, points);
  }
  return {
    *preference(shard) {
      const name = String(shard);
      let served = 0;
      for (let count = 1; served < nodes.length; count *= 4) {
        const found = ring.get(name, Math.min(count, nodes.length)) ?? [];
        yield* found.slice(served);
        served = found.length;
      }
    },
  };
}

/** Prefix-stable: a heavier node has the points of a lighter one and more. At least one. */
function pointsOf({ id, weight }: RingNode): number[] {
  const count = Math.max(1, Math.round(POINTS_PER_WEIGHT * weight));
  const points = new Set<number>();
  for (let k = 0; points.size < count; k++) {
    const digest = createHash('sha256').update(`${id}\0${k}`).digest();
    for (let offset = 0; offset < digest.length && points.size < count; offset += 4) {
      points.add(digest.readUInt32BE(offset) % RANGE);
    }
  }
  return [...points];
}

/** The finalizer of MurmurHash3 (fmix32), cut to the 24 bits that the library can take. */
function mix24(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) & 0xffffff;
}
