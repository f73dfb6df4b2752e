/** Records of edges, as membership keeps them. */
import type { EdgeIdentity } from '../../common/cluster/assignment.js';
import type { Stats } from '../../proto/gen/longline/v1/edge_session.js';

export type EdgeState =
  /** Entered by a hello. `session` is open; every report renews the lease. */
  | { readonly type: 'alive'; readonly session: number; readonly leaseEndsAtMs: number }
  /**
   * Entered when the session disconnects, and initially by an edge of the stored assignment that
   * has not said hello to this control. Ends with a hello; unless membership is frozen, it also ends
   * with the lease, or when the device port is proven to be closed.
   */
  | { readonly type: 'suspect'; readonly vanishedAtMs: number; readonly leaseEndsAtMs: number }
  /** The edge is no member. Ends with a hello; deleted later. */
  | {
      readonly type: 'dead';
      readonly forgetAtMs: number;
      /** Its device port was closed before its lease ended. */
      readonly portClosed?:
        | { readonly vanishedAtMs: number; readonly leaseEndsAtMs: number }
        | undefined;
    };

type OptionalCount =
  | 'memory'
  | 'goawaysPending'
  | 'handshakesPending'
  | 'eventLoopLagMs'
  | 'memoryHeadroom'
  | 'clientsReturned'
  | 'clientsReturnedIds'
  | 'reasons'
  | 'reconnectLoops'
  | 'redisDeserted'
  | 'redisUnusable'
  | 'routersSeen'
  | 'shuttingDown';

/** Counts of one report; the fields are those of the message `Stats`. */
export interface EdgeCounts
  extends Readonly<Pick<Stats, 'connections' | 'guests' | 'shardsSubscribed' | 'ready'>>,
    Readonly<Partial<Pick<Stats, OptionalCount>>> {
  /** Connections per shard, only shards with at least one. */
  readonly shards: readonly { readonly shard: number; readonly connections: number }[];
}

/** An edge as it describes itself in its hello. */
export interface HelloEdge extends EdgeIdentity {
  /** Maximum number of connections. */
  readonly capacity: number;
  /** Empty: none. */
  readonly zone: string;
}

export interface EdgeRecord extends EdgeIdentity {
  readonly state: EdgeState;
  /** Undefined until the edge says hello to this control: the assignment does not contain it. */
  readonly capacity: number | undefined;
  readonly zone: string;
  /** Undefined: unknown, which is not zero. */
  readonly counts: EdgeCounts | undefined;
  /** Time of the last hello or report. */
  readonly heardAtMs: number | undefined;
}

export type AliveEdge = EdgeRecord & { readonly state: { readonly type: 'alive' } };

export function isAlive(record: EdgeRecord): record is AliveEdge {
  return record.state.type === 'alive';
}

/** A member may own shards: it is alive, or suspect and within its lease. */
export function isMember(record: EdgeRecord): boolean {
  return record.state.type !== 'dead';
}
