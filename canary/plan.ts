/**
 * Decides which combinations of an edge, a Redis master and a protocol need a synthetic device,
 * and which clientIds have them. Pure.
 */
import { shardOf } from '../common/cluster/shard.js';

export const PROTOCOLS = ['sse', 'websocket', 'mqtt'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** Owner and Redis master of every shard, as `/v1/shard-map` returns them. */
export interface ShardMap {
  readonly edges: readonly string[];
  /** Index in `edges` by shard. -1: no owner. */
  readonly owners: readonly number[];
  readonly masters: readonly string[];
  /** Index in `masters` by shard. -1: no master is known. */
  readonly masterOf: readonly number[];
}

export interface Combination {
  readonly edge: string;
  readonly master: string;
  readonly protocol: Protocol;
}

/** A client of the canary. */
export interface Client {
  readonly clientId: string;
  readonly protocol: Protocol;
}

export interface Plan {
  /** Combinations that need a client. */
  readonly add: readonly Combination[];
  /** Clients whose combination another client has, too, or that are beyond the bound. */
  readonly retire: readonly string[];
}

/** Tries per shard until a clientId falls on a wanted one; a tenth is enough nearly always. */
const TRIES_PER_SHARD = 50;

/**
 * All combinations in which an edge owns a shard of a master. If a bound leaves some out, the first
 * ones have each edge before any edge a second time, with different masters and protocols.
 */
export function combinationsOf({ edges, owners, masters, masterOf }: ShardMap): Combination[] {
  const exists = new Set(owners.map((owner, shard) => `${owner} ${masterOf[shard]}`));
  const combinations: Combination[] = [];
  for (let round = 0; round < masters.length * PROTOCOLS.length; round++) {
    for (const [i, edge] of edges.entries()) {
      const master = (i + round) % masters.length;
      const protocol = (i + Math.floor(round / masters.length)) % PROTOCOLS.length;
      if (!exists.has(`${i} ${master}`)) continue;
      combinations.push({ edge, master: masters[master]!, protocol: PROTOCOLS[protocol]! });
    }
  }
  return combinations;
}

/** Undefined while the shard of the client has no owner, or no master is known. */
export function combinationOf(map: ShardMap, client: Client): Combination | undefined {
  const shard = shardOf(client.clientId, map.owners.length);
  const edge = map.edges[map.owners[shard]!];
  const master = map.masters[map.masterOf[shard]!];
  if (edge === undefined || master === undefined) return undefined;
  return { edge, master, protocol: client.protocol };
}

/** @param devicesMax number of combinations that get a client */
export function planClients(map: ShardMap, clients: readonly Client[], devicesMax: number): Plan {
  const open = new Map(
    combinationsOf(map)
      .slice(0, devicesMax)
      .map((combination) => [keyOf(combination), combination]),
  );
  const retire: string[] = [];
  for (const client of clients) {
    const combination = combinationOf(map, client);
    // It stays: its shard will have an owner again.
    if (combination === undefined) continue;
    if (!open.delete(keyOf(combination))) retire.push(client.clientId);
  }
  return { add: [...open.values()], retire };
}

export function keyOf({ edge, master, protocol }: Combination): string {
  return `${edge} ${master} ${protocol}`;
}

/**
 * Returns a clientId whose shard has the edge and the master; undefined if there is none.
 * @param nameOf a new name with each call
 */
export function findClientId(
  map: ShardMap,
  combination: Combination,
  nameOf: () => string,
): string | undefined {
  const { protocol } = combination;
  for (let tries = 0; tries < TRIES_PER_SHARD * map.owners.length; tries++) {
    const clientId = nameOf();
    const found = combinationOf(map, { clientId, protocol });
    if (found?.edge === combination.edge && found.master === combination.master) return clientId;
  }
  return undefined;
}
