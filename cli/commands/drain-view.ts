/** Progress of a drain, from the responses of control. Pure. */
import type { EdgeView, MovesResponse } from '../control/api.js';

export type DrainView =
  | {
      readonly type: 'draining';
      /** Null: the edge does not report. */
      readonly clients: number | null;
      readonly shards: number;
      readonly secondsRemaining: number | null;
      /** Why it makes no progress, or little; null: nothing delays it. */
      readonly delayedBy: MovesResponse['drains'][number]['delayedBy'];
      /** Clients that have returned; null: none, or their GOAWAY is pending. */
      readonly waitingFor: MovesResponse['drains'][number]['waitingFor'];
    }
  | { readonly type: 'finished' | 'gone' | 'cancelled' }
  /** Control does not report the drain yet. */
  | { readonly type: 'unknown' };

/** @param isSeen whether an earlier view was `draining` */
export function viewDrain(
  edgeId: string,
  { drains }: Pick<MovesResponse, 'drains'>,
  edges: readonly EdgeView[],
  isSeen: boolean,
): DrainView {
  const progress = drains.find((drain) => drain.edgeId === edgeId);
  if (progress?.finished) return { type: 'finished' };
  const edge = edges.find(({ id }) => id === edgeId);
  if (edge === undefined || edge.state === 'dead') return { type: 'gone' };
  if (progress !== undefined) {
    const { clientsRemaining: clients, shardsPending, shardsMoving, secondsRemaining } = progress;
    const shards = shardsPending + shardsMoving;
    // A control of an earlier version does not name them.
    const { waitingFor = null, delayedBy = null } = progress;
    return { type: 'draining', clients, shards, secondsRemaining, delayedBy, waitingFor };
  }
  if (edge.intent === 'draining') {
    return {
      type: 'draining',
      clients: edge.connections,
      shards: edge.shardsOwned,
      secondsRemaining: null,
      delayedBy: null,
      waitingFor: null,
    };
  }
  if (!isSeen) return { type: 'unknown' };
  return { type: edge.intent === null ? 'gone' : 'cancelled' };
}
