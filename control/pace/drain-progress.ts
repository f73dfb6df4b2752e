/** Progress of a drain, from the assignment and the edge's reports. Pure. */
import { type Content, shardsOf } from '../../common/cluster/assignment.js';
import { projectedOwners } from '../planning/plan.js';

export interface DrainProgress {
  readonly edgeId: string;
  /** Shards that no other edge has started to acquire. */
  readonly shardsPending: number;
  /** Shards that are moving away from it, in either phase. */
  readonly shardsMoving: number;
  /** Undefined while it does not report. */
  readonly clientsRemaining: number | undefined;
  /** Undefined: unknown, or no client is being moved. */
  readonly secondsRemaining: number | undefined;
  /** It owns no shards, hands none over and has no clients: its process may end. */
  readonly isFinished: boolean;
}

/**
 * @param clientsRemaining connections that the edge reports, guests included
 * @param perSecond GOAWAYs per second that the edge sends
 */
export function drainProgress(
  content: Content,
  edgeId: string,
  clientsRemaining: number | undefined,
  perSecond: number,
): DrainProgress {
  const afterMoves = { ...content, owners: projectedOwners(content) };
  const shardsPending = shardsOf(afterMoves, edgeId).length;
  const shardsMoving = content.moves.filter((move) => move.from === edgeId).length;
  const isFinished = shardsPending === 0 && shardsMoving === 0 && clientsRemaining === 0;
  return {
    edgeId,
    shardsPending,
    shardsMoving,
    clientsRemaining,
    secondsRemaining: secondsUntilGone(clientsRemaining, perSecond),
    isFinished,
  };
}

function secondsUntilGone(clients: number | undefined, perSecond: number): number | undefined {
  if (clients === 0) return 0;
  return clients === undefined || perSecond <= 0 ? undefined : clients / perSecond;
}
