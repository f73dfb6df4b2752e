/** Device ports of edges, and the owner of each clientId. */
import type { LocalCluster } from '../../../cli/local/cluster.js';
import { shardOf } from '../../../common/cluster/shard.js';

export function devicePort(cluster: LocalCluster, edge: string): number {
  return Number(new URL(cluster.edgeUrl(edge)).port);
}

/** Returns a function from clientId to the edge that owns its shard now; moves are not followed. */
export async function readOwners(cluster: LocalCluster): Promise<(clientId: string) => string> {
  const answer = await fetch(`${cluster.controlUrl}/v1/shards`);
  const { shards } = (await answer.json()) as { shards: { owner: string }[] };
  return (clientId) => shards[shardOf(clientId, shards.length)]!.owner;
}

/**
 * The same, and control moves no more shards. Devices in C do not follow a GOAWAY, and control
 * balances what it measures: when a load begins, one edge may have reported it and another not yet.
 */
export async function holdOwners(cluster: LocalCluster): Promise<(clientId: string) => string> {
  const answer = await fetch(`${cluster.controlUrl}/v1/pause`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  });
  if (!answer.ok) throw new Error(`pause: ${await answer.text()}`);
  return readOwners(cluster);
}
