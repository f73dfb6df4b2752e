/**
 * Queries of the operator API: the state of the cluster, read from a snapshot. Pure except for
 * `client`, which queries the edges and Redis. HTTP and gRPC share it.
 */

import { type Assignment, NO_OWNER, ownerOf, shardsOf } from '../../common/cluster/assignment.js';
import type { InboxSummary } from '../../common/cluster/inbox/summary.js';
import { shardOf } from '../../common/cluster/shard.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import { buildInfo } from '../../common/process/build-info.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { toUnixMs } from '../../common/process/time/clock.js';
import { rejectClientId } from '../../common/wire/client-id.js';
import { ORIGIN } from '../../common/wire/position.js';
import type { EdgeRecord } from '../membership/edge-record.js';
import { guestReason } from '../membership/guest-reason.js';
import type {
  ClientResponse,
  ClusterResponse,
  EdgeInfo,
  EdgeResponse,
  EdgesResponse,
  InboxResponse,
  MemoryResponse,
  ShardsResponse,
} from './cluster-responses.js';
import { memoryCosts } from './memory-costs.js';

export interface Snapshot {
  readonly assignment: Assignment | undefined;
  /** Sorted by id. */
  readonly edges: readonly EdgeRecord[];
  /** Id of the leading control. Undefined: unknown. */
  readonly leader?: string | undefined;
}

export type Presence = Omit<ClientResponse['connections'][number], 'guestReason'>;

/** Sources of `client` besides the snapshot. */
export interface ClientSources {
  /** Queries the edges for the connections of a client, for a second or `leftMs` at most. */
  locate(
    clientId: string,
    leftMs: number,
  ): Promise<{ connections: readonly Presence[]; complete: boolean } | Rejection>;
  /** Undefined: Redis does not answer. */
  summarizeInbox(channel: string, clientId: string): Promise<InboxSummary | undefined>;
  /** Milliseconds since the edge got the shard by a move. Undefined: unknown. */
  ownedForMs(shard: number, edgeId: string): number | undefined;
}

export class OperatorQueries {
  constructor(
    readonly names: ShardNames,
    readonly snapshot: () => Snapshot,
    readonly sources: ClientSources,
  ) {}

  get shardCount(): number {
    return this.names.shardCount;
  }

  cluster(): ClusterResponse {
    const { assignment, edges, leader } = this.snapshot();
    const alive = edges.filter((edge) => edge.state.type === 'alive');
    const shares = alive.map((edge) => countShards(assignment, edge.id));
    const mean = sum(shares) / shares.length;
    return {
      position: assignment?.position ?? ORIGIN,
      shardCount: this.shardCount,
      shardsUnowned:
        assignment?.owners.filter((owner) => owner === NO_OWNER).length ?? this.shardCount,
      edgesAlive: alive.length,
      connections: sum(edges.map((edge) => edge.counts?.connections ?? 0)),
      guests: sum(edges.map((edge) => edge.counts?.guests ?? 0)),
      shardsMaxOverMean: mean > 0 ? Math.max(...shares) / mean : 0,
      leader: leader ?? null,
      build: buildInfo,
    };
  }

  edges(): EdgesResponse {
    const { assignment, edges } = this.snapshot();
    return { edges: edges.map((edge) => describe(edge, assignment)) };
  }

  edge(id: string): EdgeResponse | Rejection {
    const { assignment, edges } = this.snapshot();
    const found = edges.find((edge) => edge.id === id);
    if (found === undefined) return rejection('NOT_FOUND', `edge ${id} is unknown`);
    return {
      edge: describe(found, assignment),
      shards: assignment === undefined ? [] : shardsOf(assignment, id),
    };
  }

  edgeMemory(id: string): MemoryResponse | Rejection {
    const found = this.snapshot().edges.find((edge) => edge.id === id);
    if (found === undefined) return rejection('NOT_FOUND', `edge ${id} is unknown`);
    const { counts } = found;
    if (counts?.memory === undefined) {
      return rejection('NOT_READY', `edge ${id} has not reported; retry later`);
    }
    const { connections, memory } = counts;
    return { edgeId: id, connections, parts: memoryCosts(memory, connections) };
  }

  shards(): ShardsResponse {
    const { assignment, edges } = this.snapshot();
    const connections = connectionsByShard(edges, this.shardCount);
    const counted = new Set(edges.filter((edge) => edge.counts).map((edge) => edge.id));
    return {
      shards: Array.from({ length: this.shardCount }, (_, shard) => {
        const owner = assignment && ownerOf(assignment, shard)?.id;
        const isKnown = owner !== undefined && counted.has(owner);
        return {
          shard,
          tag: this.names.tagOf(shard),
          channel: this.names.channelOf(shard),
          owner: owner ?? null,
          connections: isKnown ? connections[shard]! : null,
        };
      }),
    };
  }

  /** @param answerByMs when the response must be ready, in ms of the monotonic clock */
  async client(
    clientId: string,
    answerByMs = Number.POSITIVE_INFINITY,
  ): Promise<ClientResponse | Rejection> {
    const rejected = rejectClientId(clientId);
    if (rejected !== undefined) return rejected;
    const shard = shardOf(clientId, this.shardCount);
    const channel = this.names.channelOf(shard);
    const [located, inbox] = await Promise.all([
      this.sources.locate(clientId, answerByMs - performance.now()),
      this.sources.summarizeInbox(channel, clientId),
    ]);
    if ('code' in located) return located;
    const { assignment, edges } = this.snapshot();
    const owner = assignment && ownerOf(assignment, shard);
    const move = assignment?.moves.find((one) => one.shard === shard);
    const guestOf = {
      owner: owner?.id,
      ownerRecord: edges.find(({ id }) => id === owner?.id),
      move,
      ownedForMs: owner && this.sources.ownedForMs(shard, owner.id),
    };
    return {
      clientId,
      shard,
      tag: this.names.tagOf(shard),
      channel,
      owner: owner?.id ?? null,
      ownerUrl: owner?.advertisedUrl ?? null,
      connections: located.connections.map((one) => ({
        ...one,
        guestReason: one.guest ? guestReason(one.edgeId, one.connectedForMs, guestOf) : null,
      })),
      inbox: inbox === undefined ? null : describeInbox(inbox),
      complete: located.complete,
      reconnects: edges.flatMap(({ id: edgeId, counts }) =>
        (counts?.reconnectLoops ?? [])
          .filter((loop) => loop.clientId === clientId)
          .map(({ ends, reasons }) => ({ edgeId, ends, reasons })),
      ),
      move: move ?? null,
    };
  }
}

function describeInbox({ oldest, ttlMs, ...inbox }: InboxSummary): InboxResponse {
  return {
    count: inbox.count,
    bytes: inbox.bytes,
    oldestId: oldest?.id ?? null,
    oldestAgeMs: oldest?.ageMs ?? null,
    oldestTtlMs: oldest?.ttlMs ?? null,
    newestId: inbox.newestId || null,
    confirmedId: inbox.confirmedId || null,
    goneId: inbox.goneId || null,
    ttlMs: ttlMs ?? null,
  };
}

function describe(edge: EdgeRecord, assignment: Assignment | undefined): EdgeInfo {
  const { counts, heardAtMs } = edge;
  return {
    id: edge.id,
    incarnation: edge.incarnation,
    advertisedUrl: edge.advertisedUrl,
    state: edge.state.type,
    intent: assignment?.edges.find(({ id }) => id === edge.id)?.intent ?? null,
    capacity: edge.capacity ?? null,
    shardsOwned: countShards(assignment, edge.id),
    shardsSubscribed: counts?.shardsSubscribed ?? null,
    connections: counts?.connections ?? null,
    guests: counts?.guests ?? null,
    ready: counts?.ready ?? null,
    reasons: counts?.reasons ?? [],
    lastReportAtMs: heardAtMs === undefined ? null : toUnixMs(heardAtMs),
    lastReportAgeMs: heardAtMs === undefined ? null : Math.round(performance.now() - heardAtMs),
  };
}

/** Counts guests too: clients of a shard may be on any edge. */
function connectionsByShard(edges: readonly EdgeRecord[], shardCount: number): number[] {
  const connections = new Array<number>(shardCount).fill(0);
  for (const { counts } of edges) {
    for (const load of counts?.shards ?? []) connections[load.shard]! += load.connections;
  }
  return connections;
}

function countShards(assignment: Assignment | undefined, edgeId: string): number {
  return assignment === undefined ? 0 : shardsOf(assignment, edgeId).length;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
