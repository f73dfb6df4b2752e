/** Inputs of the pace: edges whose clients have to reconnect, and edges that receive them. Pure. */
import type { Content } from '../../common/cluster/assignment.js';
import type { EdgeRecord } from '../membership/edge-record.js';
import type { Donor, ReceiverReport } from './pace.js';

export function donorsAmong(edges: readonly EdgeRecord[]): Donor[] {
  return edges.flatMap(({ id, state, counts }) => {
    const clientsRemaining = state.type === 'alive' ? (counts?.goawaysPending ?? 0) : 0;
    return clientsRemaining === 0 ? [] : [{ edgeId: id, clientsRemaining }];
  });
}

/**
 * The edges to which shards are being handed over. Without such moves only guests reconnect, and
 * any edge that may own shards can receive them.
 */
export function receiversAmong(
  content: Content | undefined,
  edges: readonly EdgeRecord[],
): ReceiverReport[] {
  if (content === undefined) return [];
  const handingOver = content.moves.filter(({ phase }) => phase === 'handing-over');
  const ids = new Set(
    handingOver.length > 0
      ? handingOver.map(({ to }) => to)
      : content.edges.filter(({ intent }) => intent === 'none').map(({ id }) => id),
  );
  return edges
    .filter(({ id }) => ids.has(id))
    .map(({ id, state, counts, heardAtMs }) => ({
      edgeId: id,
      isAlive: state.type === 'alive',
      atMs: heardAtMs ?? Number.NEGATIVE_INFINITY,
      handshakesPending: counts?.handshakesPending ?? 0,
      eventLoopLagP99Ms: counts?.eventLoopLagMs ?? 0,
      memoryHeadroom: counts?.memoryHeadroom ?? 1,
    }));
}
