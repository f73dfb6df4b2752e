/**
 * The transport moves bytes and does not interpret them. This is the contract of every
 * implementation; `test/common/transport` is its test suite.
 *
 * A connection is a number, not an object: `slot + generation * SLOTS`. Slots are small numbers and
 * are reused, so state per connection is kept in arrays indexed by slot (slot-arrays.ts). A
 * connection number is never reused within the life of the process, so a late call for a closed
 * connection finds no connection instead of another one.
 */

/** One live connection. */
export type Connection = number;

/** Limit of slots: 2^24 connections per process. */
const SLOTS = 2 ** 24;

export function slotOf(connection: Connection): number {
  return connection % SLOTS;
}

/** Times that the slot was used, from 1. */
export function generationOf(connection: Connection): number {
  return Math.floor(connection / SLOTS);
}

export function connectionOf(slot: number, generation: number): Connection {
  return generation * SLOTS + slot;
}

/** `peer` closed or reset the connection · `local` we closed it · `error` the socket failed. */
export type CloseCause = 'peer' | 'local' | 'error';

/** Callbacks of a transport. None is called from within a call to the transport. */
export interface TransportEvents {
  /** A connection was accepted, or a connection to a peer was established. */
  onOpen(connection: Connection): void;
  /** Bytes were received. The buffer belongs to the transport and is valid only during the call. */
  onBytes(connection: Connection, bytes: Buffer): void;
  /**
   * The device has sent a valid certificate. Follows `onOpen`, or `secure`, before other bytes.
   * @param certificate in DER; valid only during the call
   */
  onClientCertificate?(connection: Connection, certificate: Buffer): void;
  /**
   * The peer sends no more (FIN) but may still read. Apart from `onClose`, the only event of a
   * pipe.
   */
  onEnd(connection: Connection): void;
  /**
   * The connection is closed. Called once per connection, as its last event; without an `onOpen`
   * before it if `connect` failed.
   */
  onClose(connection: Connection, cause: CloseCause): void;
  /** A new connection was closed at once because `connectionsMax` connections are open. */
  onOverLimit(): void;
  /** The timer of the connection expired: never early, at most `TIMER_RESOLUTION_MS` late. */
  onTimer(connection: Connection): void;
}

/** Timers are coarse so that a hundred thousand of them cost almost nothing. */
export const TIMER_RESOLUTION_MS = 250;

/**
 * `accepted` the bytes are in the kernel or in the connection's send buffer · `full` no byte was
 * accepted: the send buffer is not empty and would exceed its limit · `gone` no such connection.
 */
export type WriteResult = 'accepted' | 'full' | 'gone';

export const WRITE_RESULTS: readonly WriteResult[] = ['accepted', 'full', 'gone'];

export interface TransportLimits {
  /** Open connections; a new one beyond them is closed (`onOverLimit`). */
  readonly connectionsMax: number;
  /**
   * Unsent bytes in user space per connection. A single write to an empty buffer is always
   * accepted, so the actual limit is the maximum of this and the largest write.
   */
  readonly sendBufferBytesMax: number;
}

/** In bytes. */
export interface TransportMemory {
  /** All slots, used or free. 0 for an implementation whose connections are objects on the heap. */
  readonly slots: number;
  /** Capacity of the send buffers, which hold unsent bytes. */
  readonly sendBuffers: number;
  /** State that OpenSSL keeps of TLS 1.2, an estimate. 0 for an implementation with Node's TLS. */
  readonly tls12: number;
  /**
   * Keys of TLS 1.3, and records of which a part was received. 0 for an implementation with Node's
   * TLS.
   */
  readonly tls13: number;
}

/** Established connections by version of TLS: `1.2` and `1.3`. */
export type TlsConnections = readonly (readonly [version: string, count: number])[];

export interface Transport {
  /** Starts accepting. Port 0: any free port. Resolves with the port; rejects if it is in use. */
  listen(host: string, port: number): Promise<number>;
  /**
   * Starts connecting; `onOpen` or `onClose` follows. Undefined: `connectionsMax` are open.
   * @param host an IP address
   * @param localAddress the source address; '': chosen by the system
   */
  connect(host: string, port: number, localAddress: string): Connection | undefined;
  /**
   * Accepts all of `bytes` or none; they must not change afterwards. Never blocks, and never throws
   * because of the peer. Returns `gone` also before `onOpen`.
   */
  write(connection: Connection, bytes: Uint8Array): WriteResult;
  /**
   * Writes the same bytes to the first `count` of `connections`.
   * @param results receives the result for each connection, as an index into `WRITE_RESULTS`
   */
  writeMany(connections: Float64Array, count: number, bytes: Uint8Array, results: Uint8Array): void;
  /**
   * Starts the handshake of TLS on a connection that opened without one (`startsPlain` of
   * `TlsFiles`); later bytes are reported decrypted. Until the handshake is complete, `write`
   * returns `gone`. If it fails, only `onClose` follows.
   * @param first bytes of the handshake that were reported already
   */
  secure(connection: Connection, first: Uint8Array): void;
  /** Sets the connection's only timer and replaces its former setting. 0 stops it. */
  setTimer(connection: Connection, afterMs: number): void;
  /**
   * Closes after all written bytes were sent. If the peer does not close too, the connection is
   * closed two seconds later. Only `onClose` follows.
   */
  end(connection: Connection): void;
  /** Closes at once with a reset and drops unsent bytes. `onClose` follows. */
  destroy(connection: Connection): void;
  /** Bytes that the kernel has not accepted yet; 0 for a closed connection. */
  bufferedBytes(connection: Connection): number;
  /** `address:port` of the peer; undefined for a closed connection. */
  remoteAddress(connection: Connection): string | undefined;
  /**
   * Stops reading from the connection until it is piped or ended: the peer's bytes and its FIN stay
   * in the kernel. To be called from the connection's `onBytes`: otherwise bytes that were read
   * before may still be reported. A peer that disconnects meanwhile may be detected late.
   */
  pause(connection: Connection): void;
  /**
   * Joins two connections: bytes from each are forwarded to the other and not reported. Each is
   * read only as fast as the other accepts bytes. A FIN is reported (`onEnd`) and forwarded after
   * the bytes before it; the other direction stays open. After both FINs, both connections close.
   *
   * If one of them closes otherwise, by its peer or by a call, the other becomes an ordinary
   * connection again and still sends its buffered bytes. The user may then write to the other, and
   * must end it. Timers and `write` work as without a pipe.
   *
   * @returns false, without any change, unless both are open, neither is in a pipe, and no former
   *   pipe has forwarded a FIN to either
   */
  pipe(one: Connection, other: Connection): boolean;
  /**
   * Number of pauses in accepting because descriptors or memory were exhausted. 0 for an
   * implementation that leaves accepting to Node.
   */
  acceptPauses(): number;
  memory(): TransportMemory;
  tlsConnections(): TlsConnections;
  /**
   * Accepts at most `count` more connections until the next call; before the first call there is no
   * limit. Further connections wait in the kernel's backlog, where they cost almost nothing. An
   * implementation that leaves accepting to Node ignores this.
   */
  acceptAtMost(count: number): void;
  /** Stops accepting. Accepted connections stay open. */
  stopListening(): void;
  /** Stops accepting and closes every connection. Resolves when all are closed. */
  close(): Promise<void>;
}
