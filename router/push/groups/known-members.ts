/**
 * Members of groups that this router has read, with the devices that they stood for, so that the
 * next push to the group needs only the versions of their shards
 * (common/cluster/groups/members.ts).
 *
 * Bound: `clientsMax` over all groups. Beyond it, the least recently used groups are forgotten. Of
 * a group that is larger by itself, the rest is read each time.
 */
import type { Metrics } from '../../../common/process/metrics.js';
import type { Expanded } from './expand-members.js';

/** The members of a group in one shard, when the shard had a version. */
export interface KnownShard extends Expanded {
  readonly version: string;
  readonly members: number;
  /** In ms of the monotonic clock: then one of the devices may not count any more. */
  readonly validUntilMs: number;
}

const NONE: ReadonlyMap<number, KnownShard> = new Map();

/** Maximum clients of all groups: about 20 MB. */
const CLIENTS_MAX = 262_144;

export class KnownMembers {
  /** By group and shard; the least recently used group first. */
  readonly #groups = new Map<string, Map<number, KnownShard>>();
  #count = 0;

  constructor(
    metrics: Metrics,
    readonly clientsMax = CLIENTS_MAX,
  ) {
    metrics.gauge(
      'longline_router_group_clients_known',
      'Clients of groups that the router keeps in memory for the next push',
      () => this.#count,
    );
  }

  /** The known shards of a group. */
  of(group: string): ReadonlyMap<number, KnownShard> {
    const shards = this.#groups.get(group);
    if (shards === undefined) return NONE;
    this.#groups.delete(group);
    this.#groups.set(group, shards);
    return shards;
  }

  set(group: string, shard: number, known: KnownShard): void {
    this.#forget(group, shard);
    const added = weightOf(known);
    for (const oldest of this.#groups.keys()) {
      if (this.#count + added <= this.clientsMax) break;
      if (oldest !== group) this.#forgetGroup(oldest);
    }
    if (this.#count + added > this.clientsMax) return;
    const shards = this.#groups.get(group) ?? new Map<number, KnownShard>();
    this.#groups.set(group, shards.set(shard, known));
    this.#count += added;
  }

  #forget(group: string, shard: number): void {
    const shards = this.#groups.get(group);
    const known = shards?.get(shard);
    if (known === undefined) return;
    shards!.delete(shard);
    if (shards!.size === 0) this.#groups.delete(group);
    this.#count -= weightOf(known);
  }

  #forgetGroup(group: string): void {
    for (const known of this.#groups.get(group)!.values()) this.#count -= weightOf(known);
    this.#groups.delete(group);
  }
}

/** An empty shard has a place, too. */
function weightOf({ clientIds, tooMany }: KnownShard): number {
  return 1 + clientIds.length + tooMany.length;
}
