/**
 * Number of edges that the connected clients need, for autoscalers. Pure.
 *
 * It is computed from the sum of connections, not from a mean over edges: a mean does not show the
 * fullest edge, and it falls when an empty edge is added. The room that is left is for the clients
 * of an edge that dies or is replaced, and for imbalance between two plans.
 */
import { type EdgeRecord, isMember } from './edge-record.js';

/** Share of its capacity that an edge should use. */
const TARGET_UTILISATION = 0.7;

/**
 * Undefined while any member's connections are unknown: a guess would stop edges that are needed.
 */
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
  return Math.max(1, Math.ceil(connections / (capacity * TARGET_UTILISATION)));
}
