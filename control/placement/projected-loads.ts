/**
 * Projected loads: the shards that each edge will own and their load, while a plan is being made.
 * Each planned move is applied at once, so that later decisions see the load to come.
 */
import { NO_OWNER } from '../../common/cluster/assignment.js';
import type { ShardLoads } from './loads.js';

export interface ProjectedEdge {
  readonly id: string;
  /**
   * Maximum number of connections, at least 1. An edge's share of the load is proportional to it.
   */
  readonly capacity: number;
  /** False: its load is unknown, or it must not get shards. It neither gives nor receives. */
  readonly isEligible: boolean;
}

export interface PlannedMove {
  readonly shard: number;
  /** Indexes of edges. */
  readonly from: number;
  readonly to: number;
}

export class ProjectedLoads<Edge extends ProjectedEdge = ProjectedEdge> {
  /** For each shard the index of its future owner, or `NO_OWNER`. */
  readonly owners: Uint16Array;
  /** Per edge. */
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
   * Load of each edge if load, that of unowned shards included, were spread as evenly as possible;
   * 0 for an edge that is not eligible. A shard that is heavier than its edge's share is the whole
   * target of that edge, and the other edges share the rest: no move can bring an edge down to a
   * mean that one of its shards exceeds.
   */
  get targets(): Float64Array {
    this.#targets ??= this.#computeTargets();
    return this.#targets;
  }

  /** Makes the edge `to` the owner of `shard`. */
  assign(shard: number, to: number): void {
    this.unassign(shard);
    this.owners[shard] = to;
    this.#add(shard, to);
    // The shard is now the whole target of `to`, so the targets of the other edges change.
    if (this.loads.load[shard]! > this.targets[to]!) this.#targets = undefined;
  }

  unassign(shard: number): void {
    const from = this.owners[shard]!;
    if (from === NO_OWNER) return;
    this.load[from]! -= this.loads.load[shard]!;
    this.connections[from]! -= this.loads.connections[shard]!;
    this.shards[from]!.delete(shard);
    this.owners[shard] = NO_OWNER;
    if (!this.edges[from]!.isEligible || this.loads.load[shard]! >= this.targets[from]!) {
      this.#targets = undefined;
    }
  }

  /** Load divided by target; 1 is perfect. */
  ratio(index: number): number {
    // With more edges than shards, the target of some edges is 0.
    return this.shards[index]!.size === 0 ? 0 : this.load[index]! / this.targets[index]!;
  }

  hasRoomFor(shard: number, index: number): boolean {
    const connections = this.connections[index]! + this.loads.connections[shard]!;
    return connections <= this.edges[index]!.capacity;
  }

  /**
   * Load per capacity of the fullest eligible edge, divided by the mean and by the best that moves
   * can reach; 1 is perfect.
   */
  imbalance(): { maxOverMean: number; maxOverReachable: number } {
    const eligible = this.#eligible();
    const mean = this.#meanLoadPerCapacity(eligible);
    if (!(mean > 0)) return { maxOverMean: 1, maxOverReachable: 1 };
    return {
      maxOverMean: maxOf(eligible, (i) => this.load[i]! / (mean * this.edges[i]!.capacity)),
      maxOverReachable: maxOf(eligible, (index) => this.ratio(index)),
    };
  }

  /** Shards that are heavier than the whole share of their edge, ascending. */
  irreducible(): number[] {
    const eligible = this.#eligible();
    const mean = this.#meanLoadPerCapacity(eligible);
    return eligible
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

  #eligible(): number[] {
    return [...this.edges.keys()].filter((index) => this.edges[index]!.isEligible);
  }

  #meanLoadPerCapacity(eligible: readonly number[]): number {
    const capacity = sumOf(eligible, (index) => this.edges[index]!.capacity);
    return sumOf(eligible, (index) => this.load[index]!) / capacity;
  }

  #computeTargets(): Float64Array {
    const targets = new Float64Array(this.edges.length);
    let sharing = this.#eligible();
    let rest = sumOf(sharing, (index) => this.load[index]!);
    for (const [shard, owner] of this.owners.entries()) {
      if (owner === NO_OWNER) rest += this.loads.load[shard]!;
    }
    const heaviest = this.shards.map((shards) => maxOf([...shards], (s) => this.loads.load[s]!));
    for (;;) {
      const perCapacity = rest / sumOf(sharing, (index) => this.edges[index]!.capacity);
      const share = (index: number) => perCapacity * this.edges[index]!.capacity;
      const withGiant = sharing.filter((index) => heaviest[index]! > share(index));
      for (const index of sharing) targets[index] = Math.max(heaviest[index]!, share(index));
      if (withGiant.length === 0) return targets;
      rest -= sumOf(withGiant, (index) => heaviest[index]!);
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
