/**
 * How this edge stands to each shard beside other edges: whether it owns the shard, which others
 * may have clients of it (`other-edges.ts`), and what it tells their owners. An edge with clients
 * of a shard that it does not own says so on the shard's channel, and says when it has left.
 */
import type { ShardNames } from '../../common/cluster/shard-names.js';
import type { AnnounceBody, Reply } from '../../proto/gen/longline/v1/envelope.js';
import type { Announcements } from './announcements.js';
import type { OtherEdges } from './other-edges.js';
import type { Shards } from './shards.js';

interface StandingOptions {
  readonly names: Pick<ShardNames, 'shardCount'>;
  readonly shards: Pick<Shards, 'owns' | 'ownsBeside' | 'hasClients' | 'mayHaveClients'>;
  readonly announcements: Announcements;
  readonly otherEdges: OtherEdges;
}

export class Standing {
  constructor(readonly options: StandingOptions) {}

  /** Fields of a reply to a query on the channel of the shard. */
  of(shard: number): Pick<Reply, 'owner' | 'others' | 'uninvolved' | 'otherEdges'> {
    const { shards, otherEdges } = this.options;
    const owner = shards.owns(shard);
    const others = owner ? otherEdges.countOf(shard) : 0;
    const uninvolved = !owner && !shards.mayHaveClients(shard);
    return { owner, others, uninvolved, otherEdges: otherEdges.idsOf(shard) };
  }

  /** Whether a message on the channel of `carrier` reaches all clients of the shard. */
  reachesAll(shard: number, carrier: number): boolean {
    const { shards, otherEdges } = this.options;
    if (shard === carrier) return true;
    return shards.ownsBeside(shard, carrier) && otherEdges.countOf(shard) === 0;
  }

  /** The subscription is confirmed. Edges with clients of the shard may have said so before. */
  onConfirmed(shard: number): void {
    if (this.options.shards.owns(shard)) this.probe(shard);
  }

  /** Publishes a message that must come back, and that other edges with clients answer. */
  probe(shard: number): void {
    this.options.announcements.probe(shard);
  }

  /** The shard was unsubscribed. */
  onLeft(shard: number): void {
    const { announcements, otherEdges } = this.options;
    announcements.tellLeft(shard, otherEdges.of(shard));
    otherEdges.forget(shard);
  }

  /** Whether this edge has sent it. */
  isOwn({ edgeIncarnation }: AnnounceBody): boolean {
    return this.options.announcements.isOwn(edgeIncarnation);
  }

  onAnnounce(shard: number, body: AnnounceBody): void {
    const { shards, otherEdges, announcements: own } = this.options;
    const { edgeIncarnation, announcements, hasClients, left } = body;
    if (own.isOwn(edgeIncarnation)) return;
    if (left) {
      otherEdges.onLeft(shard, edgeIncarnation);
      for (const edge of body.otherEdges) {
        if (!own.isOwn(edge)) otherEdges.onHeard(shard, edge, performance.now());
      }
    } else if (hasClients || announcements.length > 0) {
      otherEdges.onHeard(shard, edgeIncarnation, performance.now());
    } else if (shards.hasClients(shard)) own.tellHasClients(shard);
  }

  /**
   * Tells the owners of those shards that have clients here, and whose number is `part` modulo
   * `parts`. To be called with each part every few seconds.
   */
  tellOwners(part: number, parts: number): void {
    const { names, shards, announcements, otherEdges } = this.options;
    otherEdges.forgetSilent(performance.now());
    for (let shard = part; shard < names.shardCount; shard += parts) {
      if (!shards.owns(shard) && shards.mayHaveClients(shard)) announcements.tellHasClients(shard);
    }
  }
}
