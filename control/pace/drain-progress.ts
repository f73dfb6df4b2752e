/** Drains: how far an edge is with leaving, from what is assigned and what it reports. Pure. */
import { type Content, shardsOf } from '../../common/cluster/assignment.js';
import { projectedOwners } from '../planning/plan.js';

export interface DrainProgress {
  readonly edgeId: string;
  /** Shards that nobody else has begun to acquire. */
  readonly shardsPending: number;
  /** Shards on their way from it, in either phase. */
  readonly shardsMoving: number;
  /** Undefined while it does not report. */
  readonly clientsRemaining: number | undefined;
  /** Undefined: it is not known, or nothing is moving. */
  readonly secondsRemaining: number | undefined;
  /** It owns nothing, hands nothing over and holds nobody: its process may end. */
  readonly isFinished: boolean;
}

/**
 * @param clientsRemaining connections that the edge reports, guests included
 * @param perSecond how many of its clients are told to go each second
 */
export function drainProgress(
  content: Content,
  edgeId: string,
  clientsRemaining: number | undefined,
  perSecond: number,
): DrainProgress {
  const going = { ...content, owners: projectedOwners(content) };
  const shardsPending = shardsOf(going, edgeId).length;
  const shardsMoving = content.moves.filter((move) => move.from === edgeId).length;
  const isFinished = shardsPending === 0 && shardsMoving === 0 && clientsRemaining === 0;
  const isKnown = clientsRemaining !== undefined && (perSecond > 0 || clientsRemaining === 0);
  return {
    edgeId,
    shardsPending,
    shardsMoving,
    clientsRemaining,
    secondsRemaining: isKnown
      ? clientsRemaining === 0
        ? 0
        : clientsRemaining / perSecond
      : undefined,
    isFinished,
  };
}
