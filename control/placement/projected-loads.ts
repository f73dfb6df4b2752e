/**
 * The projected: which shards each edge is to have and what they weigh, while a plan is made. Moves
 * are booked in it at once, so that every further decision sees the load to come.
 */
import { NO_OWNER } from '../../common/cluster/assignment.js';
import type { ShardLoads } from './loads.js';

export interface ProjectedEdge {
  readonly id: string;
  /** How many connections it can hold; at least 1. Its share of the load is proportional. */
  readonly capacity: number;
  /** False: its load is unknown, or it is to get nothing. It neither gives nor receives. */
  readonly takesPart: boolean;
}

export interface PlannedMove {
  readonly shard: number;
  /** Indexes of edges. */
  readonly from: number;
  readonly to: number;
}

export class ProjectedLoads<Edge extends ProjectedEdge = ProjectedEdge> {
  /** For each shard the index of the edge that is to have it, or `NO_OWNER`. */
  readonly owners: Uint16Array;
  readonly load: Float64Array;
  readonly connections: Float64Array;
  readonly shards: Set<number>[];
  /** Undefined: to be computed. */
  #targets: Float64Array | undefined;

  constructor(
    readonly edges: readonly Edge[],
    owners: Uint16Array,
    readonly loads: ShardLoads,
  ) {
    this.owners = Uint16Array.from(owners);
    this.load = new Float64Array(edges.length);
    this.connections = new Float64Array(edges.length);
    this.shards = edges.map(() => new Set());
    for (let shard = 0; shard < owners.length; shard++) {
      if (owners[shard] !== NO_OWNER) this.#add(shard, owners[shard]!);
    }
  }

  /**
   * What each edge would carry if load were spread as evenly as it can be, with what nobody has yet;
   * 0 for one that takes no part. A shard that is heavier than an edge's share is a share of its
   * own, and the others share the rest: nobody can be brought to a mean that one shard is above.
   */
  get targets(): Float64Array {
    this.#targets ??= this.#spread();
    return this.#targets;
  }

  /** Gives `shard` to the edge `to`, whoever has had it. */
  book(shard: number, to: number): void {
    this.release(shard);
    this.owners[shard] = to;
    this.#add(shard, to);
    // Now that share is this shard's, and the others share what is left.
    if (this.loads.load[shard]! > this.targets[to]!) this.#targets = undefined;
  }

  /** Makes `shard` nobody's. */
  release(shard: number): void {
    const from = this.owners[shard]!;
    if (from === NO_OWNER) return;
    this.load[from]! -= this.loads.load[shard]!;
    this.connections[from]! -= this.loads.connections[shard]!;
    this.shards[from]!.delete(shard);
    this.owners[shard] = NO_OWNER;
    if (!this.edges[from]!.takesPart || this.loads.load[shard]! >= this.targets[from]!) {
      this.#targets = undefined;
    }
  }

  /** Load over target; 1 is perfect. */
  ratio(index: number): number {
    // With more edges than shards, the share of some is nothing.
    return this.shards[index]!.size === 0 ? 0 : this.load[index]! / this.targets[index]!;
  }

  hasRoomFor(shard: number, index: number): boolean {
    const connections = this.connections[index]! + this.loads.connections[shard]!;
    return connections <= this.edges[index]!.capacity;
  }

  /** Max over mean, by capacity, of the edges that take part; and over what can be reached. */
  imbalance(): { maxOverMean: number; maxOverReachable: number } {
    const parts = this.#parts();
    const capacity = sumOf(parts, (index) => this.edges[index]!.capacity);
    const mean = sumOf(parts, (index) => this.load[index]!) / capacity;
    if (!(mean > 0)) return { maxOverMean: 1, maxOverReachable: 1 };
    return {
      maxOverMean: maxOf(parts, (i) => this.load[i]! / (mean * this.edges[i]!.capacity)),
      maxOverReachable: maxOf(parts, (index) => this.ratio(index)),
    };
  }

  /** Shards that alone are heavier than the share of the edge that has them. */
  irreducible(): number[] {
    const parts = this.#parts();
    const capacity = sumOf(parts, (index) => this.edges[index]!.capacity);
    const mean = sumOf(parts, (index) => this.load[index]!) / capacity;
    return parts
      .flatMap((index) => {
        const share = mean * this.edges[index]!.capacity;
        return [...this.shards[index]!].filter((shard) => this.loads.load[shard]! > share);
      })
      .sort((a, b) => a - b);
  }

  #add(shard: number, to: number): void {
    this.load[to]! += this.loads.load[shard]!;
    this.connections[to]! += this.loads.connections[shard]!;
    this.shards[to]!.add(shard);
  }

  #parts(): number[] {
    return [...this.edges.keys()].filter((index) => this.edges[index]!.takesPart);
  }

  #spread(): Float64Array {
    const targets = new Float64Array(this.edges.length);
    let sharing = this.#parts();
    let rest = sumOf(sharing, (index) => this.load[index]!);
    for (const [shard, owner] of this.owners.entries()) {
      if (owner === NO_OWNER) rest += this.loads.load[shard]!;
    }
    const heaviest = this.shards.map((shards) => maxOf([...shards], (s) => this.loads.load[s]!));
    for (;;) {
      const perCapacity = rest / sumOf(sharing, (index) => this.edges[index]!.capacity);
      const share = (index: number) => perCapacity * this.edges[index]!.capacity;
      const giants = sharing.filter((index) => heaviest[index]! > share(index));
      for (const index of sharing) targets[index] = Math.max(heaviest[index]!, share(index));
      if (giants.length === 0) return targets;
      rest -= sumOf(giants, (index) => heaviest[index]!);
      sharing = sharing.filter((index) => heaviest[index]! <= share(index));
    }
  }
}

function sumOf(indexes: readonly number[], of: (index: number) => number): number {
  return indexes.reduce((sum, index) => sum + of(index), 0);
}

function maxOf(indexes: readonly number[], of: (index: number) => number): number {
  return indexes.reduce((max, index) => Math.max(max, of(index)), 0);
}
