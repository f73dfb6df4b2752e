/** State of a connection to the device port from its first byte until its client is registered. */
import type { DeviceCertificate } from '../../common/auth/certificates.js';
import type { Position } from '../../common/wire/position.js';
import type { ConnectRequest, ProtocolDetector } from '../protocol/protocol.js';
import type { Admitted } from '../session/connection-labels.js';

/** A connection without a registered client. */
export interface Pending {
  /** `reading` the request · `queued` for admission · `preparing` authentication and session. */
  stage: 'reading' | 'queued' | 'preparing';
  /** Start of reading or of preparing. */
  sinceMs: number;
  /** Bytes of an incomplete request; later, early data. */
  bytes: Buffer;
  /** Whether a PROXY header, and then TLS, may still follow. */
  isAtStart: boolean;
  /** Version of the assignment under which a front proxy has chosen this edge. */
  frontedUnder: Position | undefined;
  /** Resume ticket that the front proxy has issued for the certificate of the device. */
  frontTicket: string | undefined;
  /** Set before other bytes if the device has sent one. */
  certificate: DeviceCertificate | undefined;
  /** Whether that proxy has answered the upgrade of the device. */
  isAnswered: boolean;
  /** Whether the connection was upgraded: `detector` keeps its bytes. */
  isUpgraded: boolean;
  /** Set when the protocol is detected. */
  detector: ProtocolDetector | undefined;
  /** Set when the request is complete. */
  request: ConnectRequest | undefined;
  /** Set when the client is authenticated. */
  admitted: Admitted | undefined;
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
    frontTicket: undefined,
    certificate: undefined,
    isAnswered: false,
    isUpgraded: false,
    detector: undefined,
    request: undefined,
    admitted: undefined,
  };
}
