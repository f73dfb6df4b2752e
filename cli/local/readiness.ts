/** Readiness of a local cluster, as its members and control report it. */
import { controlApi } from '../control/api.js';
import { Failure } from '../terminal/failure.js';

const READYZ_MS_MAX = 2_000;

export interface ExpectedCluster {
  /** Address of each member's `/readyz`. */
  readonly members: readonly { readonly name: string; readonly httpUrl: string }[];
  readonly edges: readonly string[];
  readonly controlUrl: string;
}

/**
 * Returns the first reason why the cluster is not ready; undefined when every member reports that
 * it is, and the edges own all shards and are subscribed to what they own.
 */
export async function notReadyReason(expected: ExpectedCluster): Promise<string | undefined> {
  for (const { name, httpUrl } of expected.members) {
    const signal = AbortSignal.timeout(READYZ_MS_MAX);
    const answer = await fetch(`${httpUrl}/readyz`, { signal }).catch(() => undefined);
    if (answer === undefined) return `${name} does not answer`;
    if (!answer.ok) return `${name}: ${await answer.text()}`;
  }
  try {
    return await unservedReason(expected.controlUrl, expected.edges);
  } catch (error) {
    if (error instanceof Failure) return error.message;
    throw error;
  }
}

/** Returns the first reason why these edges do not serve all shards. */
async function unservedReason(
  controlUrl: string,
  edges: readonly string[],
): Promise<string | undefined> {
  const api = controlApi(controlUrl);
  const cluster = await api.cluster();
  if (cluster.shardsUnowned > 0) return `${cluster.shardsUnowned} shards have no owner`;
  if (cluster.edgesAlive !== edges.length) {
    return `${cluster.edgesAlive} of ${edges.length} edges are alive`;
  }
  let owned = 0;
  for (const edge of await api.edges()) {
    if (!edges.includes(edge.id)) continue;
    owned += edge.shardsOwned;
    const subscribed = edge.shardsSubscribed ?? 0;
    if (!edge.ready || subscribed < edge.shardsOwned) {
      return `${edge.id} is subscribed to ${subscribed} of its ${edge.shardsOwned} shards`;
    }
  }
  return owned === cluster.shardCount
    ? undefined
    : `living edges own ${owned} of ${cluster.shardCount} shards`;
}
