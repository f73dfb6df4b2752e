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
const SLOTS = 2 ** 24;

export function slotOf(connection: Connection): number {
  return connection % SLOTS;
}

/** From 1: how often the slot has been used. */
export function generationOf(connection: Connection): number {
  return Math.floor(connection / SLOTS);
}

export function connectionOf(slot: number, generation: number): Connection {
  return generation * SLOTS + slot;
}

/**
 * `peer` closed or reset it · `local` we closed it · `error` the system did (the socket failed).
 */
export type CloseCause = 'peer' | 'local' | 'error';

/** What a transport tells its user. No call is made from within a call of the user's. */
export interface TransportEvents {
  /** A peer has connected to us, or we to a peer. */
  onOpen(connection: Connection): void;
  /** Bytes have come. The buffer is the transport's own and only valid during the call. */
  onBytes(connection: Connection, bytes: Buffer): void;
  /** The peer will send no more (FIN); it may still read. The only thing told of a pipe but its end. */
  onEnd(connection: Connection): void;
  /**
   * The connection is gone. Once per connection, after everything else about it; without an `onOpen`
   * when `connect` did not succeed.
   */
  onClose(connection: Connection, cause: CloseCause): void;
  /** A peer was turned away unheard because `connectionsMax` connections are open. */
  onOverLimit(): void;
  /** The timer of this connection has run out: never early, at most `TIMER_RESOLUTION_MS` late. */
  onTimer(connection: Connection): void;
}

/** Timers are coarse, so that a hundred thousand of them cost next to nothing. */
export const TIMER_RESOLUTION_MS = 250;

/**
 * `accepted` the bytes are with the kernel or in the connection's send buffer · `full` rejected
 * whole: the send buffer is not empty and would pass its bound · `gone` no such connection.
 */
export type WriteResult = 'accepted' | 'full' | 'gone';

export const WRITE_RESULTS: readonly WriteResult[] = ['accepted', 'full', 'gone'];

export interface TransportLimits {
  /** Open connections; more are turned away. */
  readonly connectionsMax: number;
  /**
   * Bytes that wait in user space for one peer to read. A single write to an empty buffer is
   * always taken, so the true bound is this or one write, whichever is more.
   */
  readonly sendBufferBytesMax: number;
}

/** In bytes. */
export interface TransportMemory {
  /** For connections, open or not: they are used again. 0 where they are objects on the heap. */
  readonly slots: number;
  /** What waits for peers to read, and the room that it has. */
  readonly sendBuffers: number;
}

export interface Transport {
  /** Starts to accept. Port 0: any free one. Resolves with the port; rejects when it is taken. */
  listen(host: string, port: number): Promise<number>;
  /**
   * Starts to connect; `onOpen` or `onClose` follows. Undefined: `connectionsMax` are open.
   * @param host an IP address
   * @param localAddress the source address; '' lets the system choose
   */
  connect(host: string, port: number, localAddress: string): Connection | undefined;
  /**
   * Takes all of `bytes` or none; they must not change afterwards. Never blocks, never throws for a
   * peer's fault. `gone` before `onOpen`, too.
   */
  write(connection: Connection, bytes: Uint8Array): WriteResult;
  /**
   * Writes the same bytes to the first `count` of `connections`.
   * @param results by index: what became of each, as an index into `WRITE_RESULTS`
   */
  writeMany(connections: Float64Array, count: number, bytes: Uint8Array, results: Uint8Array): void;
  /** Sets the one timer of a connection, instead of what it was set to. 0 stops it. */
  setTimer(connection: Connection, afterMs: number): void;
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
  /**
   * Reads nothing more from the connection until it is piped or ended: what its peer sends waits
   * with the kernel, and so does its FIN. To be called from within its `onBytes`; whatever was read
   * before would still be told. A peer that goes away meanwhile may be noticed late.
   */
  pause(connection: Connection): void;
  /**
   * From now on what comes from each of the two goes to the other and is not told. Each is read only
   * as fast as the other is sent to. A FIN is told (`onEnd`), and is passed on when all before it
   * was; the other direction goes on. When both directions have ended, both connections close.
   *
   * When one of them ends otherwise, by its peer or by a call, the other is an ordinary connection
   * again, which still sends what waits: whoever hears `onClose` of the one may write last words to
   * the other, and must end it. Timers and `write` work as ever.
   *
   * @returns false, having done nothing, unless both are open and neither is in a pipe, or was told by one
   * to send no more
   */
  pipe(one: Connection, other: Connection): boolean;
  /**
   * How often nothing was accepted for a while because descriptors or memory had run out. 0 for an
   * implementation that leaves that to Node.
   */
  acceptPauses(): number;
  memory(): TransportMemory;
  /**
   * Accepts so many more until it is called again; until the first call, any number. The others wait
   * with the kernel, where they cost next to nothing. An implementation that leaves this to Node
   * accepts whatever comes.
   */
  acceptAtMost(count: number): void;
  /** Stops to accept. What was accepted stays. */
  stopListening(): void;
  /** Stops to accept and closes every connection. Resolves when all are closed. */
  close(): Promise<void>;
}
