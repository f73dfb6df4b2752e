/**
 * How many edges the connected clients take, for whatever starts and stops edges by it. Pure.
 *
 * The sum counts, not the mean over edges: a mean says nothing of the fullest edge, and falls when an
 * edge is added that holds nobody yet. The room that is left is for the clients of an edge that dies or
 * is replaced, and for imbalance between two plans.
 */
import { type EdgeRecord, isMember } from './membership.js';

/** So full an edge is to be. */
const FULL_SHARE = 0.7;

/** Undefined while it is not known what every edge holds: a guess would stop edges that are needed. */
export function edgesDesired(edges: readonly EdgeRecord[]): number | undefined {
  const members = edges.filter(isMember);
  let connections = 0;
  let capacity = 0;
  for (const edge of members) {
    if (edge.counts === undefined || edge.capacity === undefined) return undefined;
    connections += edge.counts.connections;
    capacity += edge.capacity / members.length;
  }
  if (members.length === 0) return undefined;
  return Math.max(1, Math.ceil(connections / (capacity * FULL_SHARE)));
}
