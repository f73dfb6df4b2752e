/**
 * Devices that join and leave groups by themselves, as their token permits. A device joins as the
 * client that it is; its membership is stored like any other, and outlives the connection.
 *
 * Memory: the claims of those connections that have some. Bound: `PENDING_MAX` changes that await
 * Redis; a device that wants more is rejected with OVERLOADED.
 */
import type { Counter } from 'prom-client';
import { type GroupClaims, rejectClaim } from '../../common/auth/claims/group-claims.js';
import type { EventBounds } from '../../common/cluster/events/event-stream.js';
import { clearShards, markShards, readIndex } from '../../common/cluster/groups/group-index.js';
import { joinGroup, leaveGroup, TOO_MANY_GROUPS } from '../../common/cluster/groups/members.js';
import { shardOf, shardOfGroup } from '../../common/cluster/shard.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { Outcome } from '../../common/redis/execute.js';
import type { ScriptLink } from '../../common/redis/script.js';
import type { Connection } from '../../common/transport/transport.js';
import { rejectGroup } from '../../common/wire/group-name.js';
import type { GroupHost } from '../protocol/protocol.js';

const PENDING_MAX = 1_000;
const OVERLOADED = rejection('OVERLOADED', 'too many devices join or leave groups; retry later');

interface DeviceGroupsOptions {
  readonly link: ScriptLink;
  readonly names: ShardNames;
  readonly clientIdOf: (connection: Connection) => string;
  /** Claims of most connections. */
  readonly usualClaims: GroupClaims;
  /** Undefined: no events of groups are written. */
  readonly events: EventBounds | undefined;
  readonly metrics: Metrics;
}

type Change = 'joined' | 'left';

export class DeviceGroups implements GroupHost {
  /** Only of connections with other claims than the usual ones. */
  readonly #claims = new Map<Connection, GroupClaims>();
  #pending = 0;
  readonly #changes: Counter<'outcome'>;

  constructor(readonly options: DeviceGroupsOptions) {
    this.#changes = options.metrics.counter(
      'longline_edge_group_changes_total',
      'Groups that devices joined or left by themselves, by outcome: joined, left, or an error code',
      ['outcome'],
    );
  }

  /** Sets or replaces the claims of a connection. */
  setClaims(connection: Connection, claims: GroupClaims): void {
    if (claims === this.options.usualClaims) this.#claims.delete(connection);
    else this.#claims.set(connection, claims);
  }

  claimsOf(connection: Connection): GroupClaims {
    return this.#claims.get(connection) ?? this.options.usualClaims;
  }

  forget(connection: Connection): void {
    this.#claims.delete(connection);
  }

  join(connection: Connection, group: string): Promise<Rejection | undefined> {
    const clientId = this.options.clientIdOf(connection);
    return this.#change(clientId, this.claimsOf(connection), group, 'joined');
  }

  leave(connection: Connection, group: string): Promise<Rejection | undefined> {
    const clientId = this.options.clientIdOf(connection);
    return this.#change(clientId, this.claimsOf(connection), group, 'left');
  }

  async joinAll(
    clientId: string,
    claims: GroupClaims,
    groups: readonly string[],
  ): Promise<Rejection | undefined> {
    const changes = groups.map((group) => this.#change(clientId, claims, group, 'joined'));
    return (await Promise.all(changes)).find((rejected) => rejected !== undefined);
  }

  async #change(
    clientId: string,
    claims: GroupClaims,
    group: string,
    change: Change,
  ): Promise<Rejection | undefined> {
    const rejected =
      rejectGroup(group) ??
      rejectClaim(claims, group) ??
      (this.#pending < PENDING_MAX ? await this.#store(clientId, group, change) : OVERLOADED);
    this.#changes.inc({ outcome: rejected?.code ?? change });
    return rejected;
  }

  async #store(clientId: string, group: string, change: Change): Promise<Rejection | undefined> {
    const { link, names, events } = this.options;
    const shard = shardOf(clientId, names.shardCount);
    const home = names.channelOf(shardOfGroup(group, names.shardCount));
    const member = { shard, channel: names.channelOf(shard), clientId };
    this.#pending++;
    const outcome = await (change === 'joined' ? join : leave)(link, home, group, member, events);
    this.#pending--;
    if (outcome === 'too_many') return TOO_MANY_GROUPS;
    return outcome.type === 'done' ? undefined : rejection('REDIS_UNAVAILABLE', outcome.reason);
  }
}

interface Member {
  readonly shard: number;
  readonly channel: string;
  readonly clientId: string;
}

/** The order of the steps is that of `group-index.ts`. */
async function join(
  link: ScriptLink,
  home: string,
  group: string,
  { shard, channel, clientId }: Member,
  events: EventBounds | undefined,
): Promise<Outcome<unknown> | 'too_many'> {
  const joined = await joinGroup(link, group, [{ channel, members: [clientId] }], events);
  if (joined.type !== 'done') return joined;
  return joined.reply[0]![0] === 'f' ? 'too_many' : markShards(link, home, group, [shard]);
}

async function leave(
  link: ScriptLink,
  home: string,
  group: string,
  { shard, channel, clientId }: Member,
  events: EventBounds | undefined,
): Promise<Outcome<unknown>> {
  const index = await readIndex(link, home, group);
  if (index.type !== 'done') return index;
  const left = await leaveGroup(link, group, [{ channel, members: [clientId] }], events);
  if (left.type !== 'done' || !left.reply[0]!.isEmpty) return left;
  await clearShards(link, home, group, index.reply.version, [shard]);
  return left;
}
