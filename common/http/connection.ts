/**
 * One connection of an HTTP server. The parser of Node.js receives its bytes in pieces with one
 * request head at most, and none while a request waits for its response. So the server has at most
 * two requests of a connection at a time: one, and a second whose head came in one piece with the
 * body of the first.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** Bytes that wait behind a request. A request of the maximum size fits: its head and its body. */
const HELD_BYTES_MAX = 64 * 1024;
const NO_BYTES = Buffer.alloc(0);
const [LF, CR] = [0x0a, 0x0d];

export class HttpConnection {
  /** Bytes of responses that wait for the client. */
  unsentBytes = 0;
  /** Whether it is in the queue of connections that wait for their turn. */
  isQueued = false;
  /** Since when its response is known to be complete and not read. */
  unreadSinceMs: number | undefined;
  #held: Buffer = NO_BYTES;
  /** Oldest first. */
  readonly #exchanges: Exchange[] = [];
  readonly #parse: (bytes: Buffer) => void;

  /** @param onBytes called when bytes have arrived */
  constructor(
    readonly socket: Socket,
    onBytes: (connection: HttpConnection) => void,
  ) {
    // The listener of Node.js, which feeds its parser.
    const parse = socket.listeners('data')[0] as (bytes: Buffer) => void;
    this.#parse = parse;
    // Before the other is removed: a listener for bytes makes Node.js read through listeners.
    socket.on('data', (bytes: Buffer) => {
      this.#held = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
      onBytes(this);
    });
    socket.removeListener('data', parse);
  }

  get isOverfull(): boolean {
    return this.#held.length > HELD_BYTES_MAX;
  }

  /** The server has nothing to do for it until its client sends or reads something. */
  get isWaiting(): boolean {
    const [oldest] = this.#exchanges;
    return oldest === undefined || !oldest.request.complete || oldest.response.writableEnded;
  }

  /** A complete response waits for the client. */
  get isUnread(): boolean {
    return this.#exchanges[0]?.response.writableEnded ?? false;
  }

  /** Whether there are bytes that may be parsed now. */
  get isReady(): boolean {
    return this.#held.length > 0 && !this.#isBlocked;
  }

  /** Parses the bytes that wait, up to the first request that is complete. */
  parse(): void {
    while (this.isReady) {
      const end = pieceEnd(this.#held);
      const piece = this.#held.subarray(0, end);
      this.#held = this.#held.subarray(end);
      this.#parse(piece);
    }
  }

  /** A request has been parsed. Calls back when its response was sent. */
  onRequest(exchange: Exchange, onSent: (connection: HttpConnection) => void): void {
    this.#exchanges.push(exchange);
    exchange.response.once('close', () => {
      this.#exchanges.splice(this.#exchanges.indexOf(exchange), 1);
      onSent(this);
    });
  }

  get #isBlocked(): boolean {
    // Node.js pauses a socket that does not take its responses. It must not parse then.
    if (this.socket.destroyed || this.socket.isPaused()) return true;
    const newest = this.#exchanges.at(-1);
    return newest !== undefined && (newest.request.complete || this.#exchanges.length > 1);
  }
}

/** Length of the bytes up to the end of the first empty line, which may be the end of a head. */
function pieceEnd(bytes: Buffer): number {
  for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at + 1] === LF) return at + 2;
    if (bytes[at + 1] === CR && bytes[at + 2] === LF) return at + 3;
  }
  return bytes.length;
}
