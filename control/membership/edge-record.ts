/** Records of edges, as membership keeps them. */
import type { EdgeIdentity } from '../../common/cluster/assignment.js';
import type { SettingDigests } from '../../common/process/agreed-settings.js';
import type { Build, MemoryPart, Stats } from '../../proto/gen/longline/v1/edge_session.js';
import type { ShardReport } from '../placement/load-report.js';

export type EdgeState =
  /** Entered by a hello. `session` is open; every report renews the lease. */
  | { readonly type: 'alive'; readonly session: number; readonly leaseEndsAtMs: number }
  /**
   * Entered when the session disconnects, and initially by an edge of the stored assignment that
   * has not said hello to this control. Ends with a hello; unless membership is frozen, it also
   * ends with the lease, or when the device port is proven to be closed.
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
  | 'connectionsOpened'
  | 'goawaysPending'
  | 'handshakesPending'
  | 'eventLoopLagMs'
  | 'gaps'
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
  /** Only shards with at least one connection. */
  readonly shards: readonly ShardReport[];
  readonly memory?: readonly MemoryPart[] | undefined;
}

/** An edge as it describes itself in its hello. */
export interface HelloEdge extends EdgeIdentity {
  /** Maximum number of connections. */
  readonly capacity: number;
  /** Empty: none. */
  readonly zone: string;
  /** Undefined: an older version. */
  readonly build?: Build | undefined;
  /** Digests of settings; an older version has none. */
  readonly settings?: SettingDigests | undefined;
}

export interface EdgeRecord extends EdgeIdentity {
  readonly state: EdgeState;
  /** Undefined until the edge says hello to this control: the assignment does not contain it. */
  readonly capacity: number | undefined;
  readonly zone: string;
  /** Undefined: it has not said. */
  readonly build?: Build | undefined;
  readonly settings?: SettingDigests | undefined;
  /** Undefined: unknown, which is not zero. */
  readonly counts: EdgeCounts | undefined;
  /** Time of the last hello or report. */
  readonly heardAtMs: number | undefined;
}

/** Written as one literal: spreads are slow, and every report makes a record. */
export function heardRecord(
  edge: HelloEdge | EdgeRecord,
  state: EdgeState,
  counts: EdgeCounts | undefined,
  heardAtMs: number,
): EdgeRecord {
  return {
    id: edge.id,
    incarnation: edge.incarnation,
    advertisedUrl: edge.advertisedUrl,
    frontAddress: edge.frontAddress,
    capacity: edge.capacity,
    zone: edge.zone,
    build: edge.build,
    settings: edge.settings,
    state,
    counts,
    heardAtMs,
  };
}

export type AliveEdge = EdgeRecord & { readonly state: { readonly type: 'alive' } };

export function isAlive(record: EdgeRecord): record is AliveEdge {
  return record.state.type === 'alive';
}

/** A member may own shards: it is alive, or suspect and within its lease. */
export function isMember(record: EdgeRecord): boolean {
  return record.state.type !== 'dead';
}
