/** Progress of a drain, from the assignment and the edge's reports. Pure. */
import { type Content, shardsOf } from '../../common/cluster/assignment.js';
import { projectedOwners } from '../planning/plan.js';
import type { DrainDelay } from './drain-delay.js';

/** Clients that know no other address than that of the draining edge. */
export interface ReturnedClients {
  readonly clients: number;
  /** The first of them. */
  readonly clientIds: readonly string[];
}

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
  /** Clients that have returned after their GOAWAY. Undefined: none, or GOAWAYs are pending. */
  readonly waitingFor: ReturnedClients | undefined;
  /** Why it makes no progress, or little. Undefined: nothing delays it. */
  readonly delayedBy?: DrainDelay | undefined;
  /** It owns no shards, hands none over and has no clients: its process may end. */
  readonly isFinished: boolean;
}

/**
 * @param clientsRemaining connections that the edge reports, guests included
 * @param perSecond GOAWAYs per second that the edge sends
 * @param waitingFor as the edge reports it
 */
export function drainProgress(
  content: Content,
  edgeId: string,
  clientsRemaining: number | undefined,
  perSecond: number,
  waitingFor?: ReturnedClients,
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
    // Without clients, the rest of the moves takes a time that nothing predicts.
    secondsRemaining:
      clientsRemaining === 0 && !isFinished
        ? undefined
        : secondsUntilGone(clientsRemaining, perSecond, waitingFor),
    waitingFor,
    isFinished,
  };
}

function secondsUntilGone(
  clients: number | undefined,
  perSecond: number,
  waitingFor: ReturnedClients | undefined,
): number | undefined {
  // They stay until the deadline, or until the process is stopped.
  if (waitingFor !== undefined) return undefined;
  if (clients === 0) return 0;
  return clients === undefined || perSecond <= 0 ? undefined : clients / perSecond;
}
