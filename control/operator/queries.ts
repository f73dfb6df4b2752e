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
import { rejectClientId, rejectUser } from '../../common/wire/client-id.js';
import { comparePositions, ORIGIN, type Position } from '../../common/wire/position.js';
import { type LoadHistory, POINT_MS } from '../leadership/load-history.js';
import { countBuilds, differingSettings, membersOf } from '../leadership/members.js';
import { isSilent, type Replica } from '../leadership/replicas.js';
import type { EdgeRecord } from '../membership/edge-record.js';
import { guestReason } from '../membership/guest-reason.js';
import type {
  ClientResponse,
  ClusterResponse,
  EdgeInfo,
  EdgeResponse,
  EdgesResponse,
  HistoryResponse,
  InboxResponse,
  MembersResponse,
  MemoryResponse,
  ShardMapResponse,
  ShardsResponse,
  UserResponse,
} from './cluster-responses.js';
import { memoryCosts, residentBytes } from './memory-costs.js';
import { slowestPushes } from './slow-pushes.js';

/** Maximum number of devices of a user in one answer; each costs a query of the edges. */
const DEVICES_MAX = 100;
/** Maximum number of processes that an answer names for one value. */
const NAMED_MAX = 10;

export interface Snapshot {
  readonly assignment: Assignment | undefined;
  /** Sorted by id. */
  readonly edges: readonly EdgeRecord[];
  /** Id of the leading control. Undefined: unknown. */
  readonly leader?: string | undefined;
  /** Health of this control. */
  readonly health?: () => Pick<ClusterResponse, 'reasons' | 'redisMasters'>;
  readonly history?: Pick<LoadHistory, 'points' | 'routers'>;
  readonly controls?: readonly Replica[];
  /** Address of the Redis master that has a channel. Undefined: none is known. */
  readonly masterOf?: (channel: string) => string | undefined;
  /** By shard, the version in which it got its owner. Undefined: unknown. */
  readonly ownedSince?: readonly (Position | undefined)[];
}

export type Presence = Omit<ClientResponse['connections'][number], 'guestReason'>;

/** Sources of `client` besides the snapshot. */
export interface ClientSources {
  /** Queries the edges for the connections of a client, for a second or `leftMs` at most. */
  locate(
    clientId: string,
    leftMs: number,
  ): Promise<{ connections: readonly Presence[]; complete: boolean } | Rejection>;
  /** ClientIds of up to `countMax` devices of a user. Undefined: Redis does not answer. */
  devicesOf(channel: string, user: string, countMax: number): Promise<string[] | undefined>;
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
    const { assignment, edges, leader, health } = this.snapshot();
    const { reasons = [], redisMasters = [] } = health?.() ?? {};
    const alive = edges.filter((edge) => edge.state.type === 'alive');
    const assigned = assignedEdges(assignment);
    const shares = alive.map(({ id }) => assigned.get(id)?.shardsOwned ?? 0);
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
      reasons,
      redisMasters,
    };
  }

  history(): HistoryResponse {
    const { points = [], routers = [] } = this.snapshot().history ?? {};
    const verdicts = new Set(points.flatMap((point) => Object.keys(point.pushesPerSecond)));
    return {
      intervalMs: POINT_MS,
      atMs: points.map(({ atMs }) => toUnixMs(atMs)),
      connections: points.map(({ connections }) => connections),
      connectsPerSecond: points.map(({ connectsPerSecond }) => rounded(connectsPerSecond)),
      eventsPerSecond: points.map(({ eventsPerSecond }) => rounded(eventsPerSecond)),
      pushesPerSecond: Object.fromEntries(
        [...verdicts]
          .sort()
          .map((name) => [name, points.map((point) => rounded(point.pushesPerSecond[name] ?? 0))]),
      ),
      p50Ms: points.map(({ p50 }) => (p50 === undefined ? null : rounded(1_000 * p50))),
      p99Ms: points.map(({ p99 }) => (p99 === undefined ? null : rounded(1_000 * p99))),
      routers: routers.map(({ load, heardAtMs }) => ({
        id: load.routerId,
        lastReportAgeMs: Math.round(performance.now() - heardAtMs),
      })),
    };
  }

  /** The slowest pushes of the last minute, the slowest first. */
  slowPushes(limit: number) {
    const { routers = [] } = this.snapshot().history ?? {};
    return slowestPushes(routers, limit, performance.now());
  }

  members(): MembersResponse {
    const { edges, leader, history, controls = [] } = this.snapshot();
    const routers = history?.routers ?? [];
    const members = membersOf({ edges, routers, controls });
    return {
      controls: controls.map((control) => ({
        id: control.id,
        url: control.url,
        leads: control.id === leader,
        version: control.version,
        commit: control.commit,
        node: control.node,
        silent: isSilent(control),
        lastNoteAgeMs: Math.round(performance.now() - control.heardAtMs),
      })),
      routers: routers.map(({ load: { routerId: id, version, commit }, heardAtMs }) => ({
        ...{ id, version, commit },
        lastReportAgeMs: Math.round(performance.now() - heardAtMs),
      })),
      builds: countBuilds(members),
      settings: differingSettings(members).map(({ name, groups }) => ({
        name,
        groups: groups.map((ids) => ({ processes: ids.length, ids: ids.slice(0, NAMED_MAX) })),
      })),
    };
  }

  edges(): EdgesResponse {
    const { assignment, edges } = this.snapshot();
    const assigned = assignedEdges(assignment);
    return { edges: edges.map((edge) => describe(edge, assigned.get(edge.id))) };
  }

  edge(id: string): EdgeResponse | Rejection {
    const { assignment, edges } = this.snapshot();
    const found = edges.find((edge) => edge.id === id);
    if (found === undefined) return rejection('NOT_FOUND', `edge ${id} is unknown`);
    return {
      edge: describe(found, assignedEdges(assignment).get(id)),
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
    const { edges, owners, connections, versions, ownedSince } = this.shardMap();
    return {
      shards: owners.map((owner, shard) => ({
        shard,
        tag: this.names.tagOf(shard),
        channel: this.names.channelOf(shard),
        owner: edges[owner] ?? null,
        connections: connections[shard]!,
        ownedSince: versions[ownedSince[shard]!] ?? null,
      })),
    };
  }

  shardMap(): ShardMapResponse {
    const { assignment, edges, masterOf, ownedSince = [] } = this.snapshot();
    const counted = new Set(edges.filter((edge) => edge.counts).map((edge) => edge.id));
    const ids = assignment?.edges.map(({ id }) => id) ?? [];
    const owners = Array.from({ length: this.shardCount }, (_, shard) => {
      const owner = assignment?.owners[shard] ?? NO_OWNER;
      return owner === NO_OWNER ? -1 : owner;
    });
    const isKnown = ids.map((id) => counted.has(id));
    const ofKnown = (values: readonly number[]) =>
      values.map((value, shard) => (isKnown[owners[shard]!] ? value : null));
    const { connections, pushesPerSecond } = loadsByShard(edges, this.shardCount);
    const masters = owners.map((_, shard) => masterOf?.(this.names.channelOf(shard)));
    const [knownMasters, masterOfShard] = indexed(masters);
    const since = owners.map((_, shard) => ownedSince[shard]);
    const [versions, versionOfShard] = indexed(since, comparePositions);
    return {
      edges: ids,
      owners,
      connections: ofKnown(connections),
      pushesPerSecond: ofKnown(pushesPerSecond.map(rounded)),
      masters: knownMasters,
      masterOf: masterOfShard,
      versions,
      ownedSince: versionOfShard,
    };
  }

  /** @param answerByMs when the response must be ready, in ms of the monotonic clock */
  async user(
    user: string,
    answerByMs = Number.POSITIVE_INFINITY,
  ): Promise<UserResponse | Rejection> {
    const rejected = rejectUser(user);
    if (rejected !== undefined) return rejected;
    const channel = this.names.channelOf(shardOf(user, this.shardCount));
    const found = await this.sources.devicesOf(channel, user, DEVICES_MAX + 1);
    if (found === undefined) return rejection('REDIS_UNAVAILABLE', 'Redis did not answer');
    const clientIds = found.length === 0 ? [user] : found.slice(0, DEVICES_MAX);
    const answers = await Promise.all(clientIds.map((id) => this.client(id, answerByMs)));
    const failed = answers.find((answer): answer is Rejection => 'code' in answer);
    if (failed !== undefined) return failed;
    return { user, devices: answers as ClientResponse[], more: found.length > DEVICES_MAX };
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

type Assigned = Pick<EdgeInfo, 'intent' | 'shardsOwned'>;

function describe(edge: EdgeRecord, assigned: Assigned | undefined): EdgeInfo {
  const { counts, heardAtMs, build } = edge;
  return {
    id: edge.id,
    incarnation: edge.incarnation,
    advertisedUrl: edge.advertisedUrl,
    state: edge.state.type,
    intent: assigned?.intent ?? null,
    capacity: edge.capacity ?? null,
    shardsOwned: assigned?.shardsOwned ?? 0,
    shardsSubscribed: counts?.shardsSubscribed ?? null,
    connections: counts?.connections ?? null,
    guests: counts?.guests ?? null,
    ready: counts?.ready ?? null,
    reasons: counts?.reasons ?? [],
    zone: edge.zone,
    eventLoopLagMs: counts?.eventLoopLagMs ?? null,
    memoryBytes: residentBytes(counts?.memory) ?? null,
    gaps: counts?.gaps ?? null,
    version: build?.version || null,
    commit: build?.commit || null,
    lastReportAtMs: heardAtMs === undefined ? null : toUnixMs(heardAtMs),
    lastReportAgeMs: heardAtMs === undefined ? null : Math.round(performance.now() - heardAtMs),
  };
}

/** Counts guests too: clients of a shard may be on any edge. */
function loadsByShard(edges: readonly EdgeRecord[], shardCount: number) {
  const connections = new Array<number>(shardCount).fill(0);
  const pushesPerSecond = new Array<number>(shardCount).fill(0);
  for (const { counts } of edges) {
    for (const load of counts?.shards ?? []) {
      connections[load.shard]! += load.connections;
      pushesPerSecond[load.shard]! += load.messagesPerSecond;
    }
  }
  return { connections, pushesPerSecond };
}

/** The distinct values in order, and for each value its index among them; -1: it is undefined. */
function indexed<Value>(
  values: readonly (Value | undefined)[],
  compare?: (a: Value, b: Value) => number,
): [distinct: Value[], indexes: number[]] {
  const distinct = [...new Set(values.filter((value) => value !== undefined))].sort(compare);
  const indexes = new Map<Value | undefined, number>(distinct.map((value, i) => [value, i]));
  return [distinct, values.map((value) => indexes.get(value) ?? -1)];
}

/** More digits would only make the response larger. */
function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

/** Edges of the assignment by id, in one pass over all shards. */
function assignedEdges(assignment: Assignment | undefined): ReadonlyMap<string, Assigned> {
  const { edges = [], owners = [] } = assignment ?? {};
  const counts = edges.map(() => 0);
  for (const owner of owners) if (owner !== NO_OWNER) counts[owner]!++;
  return new Map(edges.map(({ id, intent }, i) => [id, { intent, shardsOwned: counts[i]! }]));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
