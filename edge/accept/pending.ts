/** State of a connection to the device port from its first byte until its client is registered. */
import type { Verified } from '../../common/auth/authenticator.js';
import type { Position } from '../../common/wire/position.js';
import type { ConnectRequest, ProtocolDetector } from '../protocol/protocol.js';

/** A connection without a registered client. */
export interface Pending {
  /** `reading` the request · `queued` for admission · `preparing` authentication and session. */
  stage: 'reading' | 'queued' | 'preparing';
  /** Start of reading or of preparing. */
  sinceMs: number;
  /** Bytes of an incomplete request; later, early data. */
  bytes: Buffer;
  /** Whether a PROXY header may still follow. */
  isAtStart: boolean;
  /** Version of the assignment under which a front proxy has chosen this edge. */
  frontedUnder: Position | undefined;
  /** Whether that proxy has answered the upgrade of the device. */
  isAnswered: boolean;
  /** Whether the connection was upgraded: `detector` keeps its bytes. */
  isUpgraded: boolean;
  /** Set when the protocol is detected. */
  detector: ProtocolDetector | undefined;
  /** Set when the request is complete. */
  request: ConnectRequest | undefined;
  /** Set when the client is authenticated. */
  verified: Verified | undefined;
}

const NO_BYTES = Buffer.alloc(0);

/** A connection of which nothing was read. */
export function pendingSince(sinceMs: number): Pending {
  return {
    stage: 'reading',
    sinceMs,
    bytes: NO_BYTES,
    isAtStart: true,
    frontedUnder: undefined,
    isAnswered: false,
    isUpgraded: false,
    detector: undefined,
    request: undefined,
    verified: undefined,
  };
}
