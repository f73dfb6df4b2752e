/** Drains: how far an edge is with leaving, from what is assigned and what it reports. Pure. */
import { type Content, shardsOf } from '../../common/cluster/assignment.js';
import { projectedOwners } from '../planning/plan.js';

export interface DrainProgress {
  readonly edgeId: string;
  /** Shards that nobody else has begun to acquire. */
  readonly shardsWaiting: number;
  /** Shards on their way from it, in either phase. */
  readonly shardsMoving: number;
  /** Undefined while it does not report. */
  readonly clientsLeft: number | undefined;
  /** Undefined: it is not known, or nothing is moving. */
  readonly secondsLeft: number | undefined;
  /** It owns nothing, hands nothing over and holds nobody: its process may end. */
  readonly isFinished: boolean;
}

/**
 * @param clientsLeft connections that the edge reports, guests included
 * @param perSecond how many of its clients are told to go each second
 */
export function drainProgress(
  content: Content,
  edgeId: string,
  clientsLeft: number | undefined,
  perSecond: number,
): DrainProgress {
  const going = { ...content, owners: projectedOwners(content) };
  const shardsWaiting = shardsOf(going, edgeId).length;
  const shardsMoving = content.moves.filter((move) => move.from === edgeId).length;
  const isFinished = shardsWaiting === 0 && shardsMoving === 0 && clientsLeft === 0;
  const isKnown = clientsLeft !== undefined && (perSecond > 0 || clientsLeft === 0);
  return {
    edgeId,
    shardsWaiting,
    shardsMoving,
    clientsLeft,
    secondsLeft: isKnown ? (clientsLeft === 0 ? 0 : clientsLeft / perSecond) : undefined,
    isFinished,
  };
}
