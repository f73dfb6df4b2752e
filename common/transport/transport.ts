/**
 * The transport moves bytes; it gives them no meaning. This is the contract that every
 * implementation keeps, and `test/common/transport` is its test suite.
 *
 * A connection is a number, not an object: `slot + generation * SLOTS`. Slots are small and are
 * used again, so whoever keeps state per connection keeps it in arrays indexed by slot. A number is
 * never used again within the life of the process, so a late call about a closed connection finds
 * nothing instead of somebody else's socket.
 */

/** One live connection. */
export type Connection = number;

/** Bound on slots: 2^24 connections per process. */
export const SLOTS = 2 ** 24;

export function slotOf(connection: Connection): number {
  return connection % SLOTS;
}

/**
 * `peer` closed or reset it · `local` we closed it · `error` the system did (the socket failed).
 */
export type CloseCause = 'peer' | 'local' | 'error';

/** What a transport tells its user. No call is made from within a call of the user's. */
export interface TransportEvents {
  /** A peer has connected. */
  onOpen(connection: Connection): void;
  /** Bytes have come. The buffer is the transport's own and only valid during the call. */
  onBytes(connection: Connection, bytes: Buffer): void;
  /** The peer will send no more (FIN); it may still read. */
  onEnd(connection: Connection): void;
  /** The connection is gone. Once per `onOpen`, after everything else about it. */
  onClose(connection: Connection, cause: CloseCause): void;
  /** A peer was turned away unheard because `connectionsMax` connections are open. */
  onTurnedAway(): void;
}

/**
 * `accepted` the bytes are with the kernel or in the connection's send buffer · `full` refused
 * whole: the send buffer is not empty and would pass its bound · `gone` no such connection.
 */
export type WriteResult = 'accepted' | 'full' | 'gone';

export interface TransportLimits {
  /** Open connections; more are turned away. */
  readonly connectionsMax: number;
  /**
   * Bytes that wait in user space for one peer to read. A single write to an empty buffer is
   * always taken, so the true bound is this or one write, whichever is more.
   */
  readonly sendBufferBytesMax: number;
}

export interface Transport {
  /** Starts to accept. Port 0: any free one. Resolves with the port; rejects when it is taken. */
  listen(host: string, port: number): Promise<number>;
  /** Takes all of `bytes` or none. Never blocks, never throws for a peer's fault. */
  write(connection: Connection, bytes: Uint8Array): WriteResult;
  /**
   * Closes after what was written has been sent; a peer that does not close too is cut two seconds
   * later. Nothing but `onClose` follows.
   */
  end(connection: Connection): void;
  /** Closes at once with a reset; what was not sent is dropped. `onClose` follows. */
  destroy(connection: Connection): void;
  /** Bytes that the kernel has not taken yet; 0 for a connection that is gone. */
  bufferedBytes(connection: Connection): number;
  /** `address:port` of the peer; undefined for a connection that is gone. */
  remoteAddress(connection: Connection): string | undefined;
  /** Stops to accept and closes every connection. Resolves when all are closed. */
  close(): Promise<void>;
}
