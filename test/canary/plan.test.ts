import { describe, expect, test } from '@jest/globals';
import {
  combinationOf,
  combinationsOf,
  findClientId,
  keyOf,
  PROTOCOLS,
  planClients,
  type ShardMap,
} from '../../canary/plan.js';

/** 64 shards over these edges and masters, mixed. */
function mapOf(edges: readonly string[], masters: readonly string[]): ShardMap {
  const shards = Array.from({ length: 64 }, (_, shard) => shard);
  return {
    edges,
    masters,
    owners: shards.map((shard) => shard % edges.length),
    masterOf: shards.map((shard) => Math.floor(shard / edges.length) % masters.length),
  };
}

const map = mapOf(['edge-1', 'edge-2', 'edge-3'], ['a:1', 'b:1']);

/** Clients for all combinations of a plan. */
function clientsFor(of: ShardMap, devicesMax: number) {
  let i = 0;
  return planClients(of, [], devicesMax).add.map((combination) => {
    const clientId = findClientId(of, combination, () => `_canary-${++i}`)!;
    return { clientId, protocol: combination.protocol };
  });
}

describe('combinations', () => {
  test('are each edge with each master and protocol, once', () => {
    const keys = combinationsOf(map).map(keyOf);
    expect(new Set(keys).size).toBe(3 * 2 * PROTOCOLS.length);
    expect(keys).toHaveLength(new Set(keys).size);
  });

  test('have every edge, master and protocol among the first few', () => {
    const first = combinationsOf(map).slice(0, 3);
    expect(new Set(first.map(({ edge }) => edge)).size).toBe(3);
    expect(new Set(first.map(({ master }) => master)).size).toBe(2);
    expect(new Set(first.map(({ protocol }) => protocol)).size).toBe(3);
  });

  test('leave out an edge that owns nothing, and shards without a master', () => {
    const drained = { ...map, owners: map.owners.map((owner) => (owner === 2 ? 0 : owner)) };
    expect(combinationsOf(drained).filter(({ edge }) => edge === 'edge-3')).toEqual([]);
    expect(combinationsOf({ ...map, masterOf: map.masterOf.map(() => -1) })).toEqual([]);
  });
});

describe('a plan', () => {
  test('adds a client for each combination, and is then complete', () => {
    const clients = clientsFor(map, 100);
    expect(clients).toHaveLength(18);
    expect(planClients(map, clients, 100)).toEqual({ add: [], retire: [] });
  });

  test('is bounded, and retires what is beyond the bound', () => {
    const clients = clientsFor(map, 100);
    const { add, retire } = planClients(map, clients, 5);
    expect(add).toEqual([]);
    expect(retire).toHaveLength(13);
    expect(planClients(map, [], 5).add).toHaveLength(5);
  });

  test('follows a move: the old edge gets another client, the new one keeps one of two', () => {
    const clients = clientsFor(map, 100);
    const { edge, master, protocol } = combinationOf(map, clients[0]!)!;
    const other = map.edges.findIndex((each) => each !== edge);
    const moved = findShard(clients[0]!.clientId);
    const after = {
      ...map,
      owners: map.owners.map((owner, shard) => (shard === moved ? other : owner)),
    };
    const { add, retire } = planClients(after, clients, 100);
    expect(add).toEqual([{ edge, master, protocol }]);
    expect(retire).toHaveLength(1);
  });

  test('keeps a client whose shard has no owner for a moment', () => {
    const clients = clientsFor(map, 100);
    const unowned = { ...map, owners: map.owners.map(() => -1) };
    expect(planClients(unowned, clients, 100)).toEqual({ add: [], retire: [] });
  });
});

test('no clientId is found for a combination that has no shard', () => {
  let names = 0;
  const combination = { edge: 'edge-9', master: 'a:1', protocol: 'sse' as const };
  expect(findClientId(map, combination, () => `${++names}`)).toBeUndefined();
});

function findShard(clientId: string): number {
  return map.owners.findIndex((_, shard) => {
    const alone = map.owners.map((__, each) => (each === shard ? 0 : -1));
    return combinationOf({ ...map, owners: alone }, { clientId, protocol: 'sse' }) !== undefined;
  });
}
