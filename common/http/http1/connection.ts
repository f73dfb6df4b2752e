/**
 * One connection of an HTTP/1.1 server (RFC 9112). Requests that a client has pipelined are
 * processed together, up to a bound, and answered in their order. All responses of a turn of the
 * event loop leave in one write.
 */
import type { Socket } from 'node:net';
import { type PeerCertificate, TLSSocket } from 'node:tls';
import { type Rejection, rejection } from '../../process/errors.js';
import { atTurnEnd } from '../../process/time/turn-end.js';
import type { HttpHead } from '../../wire/http-head.js';
import { BodyDecoder, type BodySink } from './body-decoder.js';
import { type Carrier, Exchange } from './exchange.js';
import type { HeadCache } from './head-cache.js';
import { rejectionResponse } from './response.js';

export interface ConnectionHandler {
  /** Returns what takes the body; undefined: the request was answered, and its body is not read. */
  onRequest(exchange: Exchange): BodySink | undefined;
  /** A request could not be read, or was not complete in time. */
  onUnreadable(rejected: Rejection): void;
  /** All requests that were read are answered. */
  onIdle(connection: Http1Connection): void;
}

interface Reading {
  readonly exchange: Exchange;
  readonly decoder: BodyDecoder;
}

/**
 * `idle` no request in time · `request` not complete in time · `unread` responses not read in time
 */
export type Overdue = 'idle' | 'request' | 'unread';

/** Maximum requests of one connection that wait for their responses. */
const PIPELINED_MAX = 64;
const HEAD_MS_MAX = 10_000;
const BODY_MS_MAX = 20_000;
/** Longer than the 60 s of common load balancers, which must close first. */
const IDLE_MS_MAX = 72_000;
const UNREAD_MS_MAX = 10_000;
/** Time for the client to close its side. */
const LINGER_MS = 2_000;
/** Detects a client that vanished within 30 s, as with gRPC. */
const KEEPALIVE_MS = 20_000;
const NO_BYTES = Buffer.alloc(0);

export class Http1Connection implements Carrier {
  #held: Buffer = NO_BYTES;
  /** Bytes of `held` in which the end of a head was searched. */
  #searched = 0;
  /** Oldest first. */
  readonly #exchanges: Exchange[] = [];
  /** The request whose body is being read. */
  #reading: Reading | undefined;
  #out = '';
  /** Start of what is awaited: a request, the rest of one, or the end of the connection. */
  #sinceMs = performance.now();
  readonly #openedMs = this.#sinceMs;
  #unreadSinceMs: number | undefined;
  #hasServed = false;
  #isPaused = false;
  /** No further requests are read. */
  #isLast = false;
  #isStopping = false;
  #isClosed = false;
  #certificate: PeerCertificate | undefined | null = null;

  /** @param ageMsMax after which a response ends the connection; 0: no maximum */
  constructor(
    readonly socket: Socket,
    readonly handler: ConnectionHandler,
    readonly heads: HeadCache,
    readonly ageMsMax: number,
  ) {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    socket.on('data', (bytes) => this.#receive(bytes));
    socket.on('drain', () => this.#onDrain());
    socket.on('error', () => {}); // `close` follows.
    // A client that closes its side has gone: it would not read a response.
    socket.on('end', () => this.#onClose());
    socket.on('close', () => this.#onClose());
  }

  /** The certificate of the client, if its authority has been verified. */
  get certificate(): PeerCertificate | undefined {
    const { socket } = this;
    if (this.#certificate === null) {
      this.#certificate =
        socket instanceof TLSSocket && socket.authorized ? socket.getPeerCertificate() : undefined;
    }
    return this.#certificate;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether it waits for a request. */
  get isWaiting(): boolean {
    return this.#exchanges.length === 0;
  }

  /** Whether the client reads what it is sent. */
  get isWritable(): boolean {
    return this.#unreadSinceMs === undefined;
  }

  isTooOld(nowMs: number): boolean {
    return this.ageMsMax > 0 && nowMs - this.#openedMs > this.ageMsMax;
  }

  /** Ends with the response to the last request that was read. */
  stop(): void {
    this.#isStopping = true;
    if (this.isWaiting) this.#finish();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** To be called every second; the connection is closed if it returns a reason. */
  check(nowMs: number): Overdue | undefined {
    const [first] = this.#exchanges;
    // A stream may wait for its client without a limit.
    if (!first?.isStream && nowMs - (this.#unreadSinceMs ?? nowMs) > UNREAD_MS_MAX) {
      this.destroy();
      return 'unread';
    }
    if (first?.isStream && this.isTooOld(nowMs)) first.onTooOld();
    const waitedMs = nowMs - this.#sinceMs;
    if (this.#isIncomplete(waitedMs)) {
      const code = this.#reading === undefined ? 'HEAD_TIMEOUT' : 'REQUEST_TIMEOUT';
      this.#reject(rejection(code, 'the request was not complete in time'));
      return 'request';
    }
    if (!this.isWaiting) return undefined;
    if (this.#isLast) {
      if (this.socket.writableFinished && waitedMs > LINGER_MS) this.destroy();
      return undefined;
    }
    if (this.#held.length > 0 || waitedMs <= (this.#hasServed ? IDLE_MS_MAX : HEAD_MS_MAX)) {
      return undefined;
    }
    this.#finish();
    return 'idle';
  }

  #isIncomplete(waitedMs: number): boolean {
    if (this.#reading !== undefined) {
      return !this.#reading.exchange.isStream && waitedMs > BODY_MS_MAX;
    }
    return this.isWaiting && this.#held.length > 0 && waitedMs > HEAD_MS_MAX;
  }

  #receive(bytes: Buffer): void {
    if (this.#isLast && this.#reading === undefined) return;
    if (this.#held.length === 0) {
      this.#held = bytes;
      if (this.isWaiting) this.#sinceMs = performance.now();
    } else this.#held = Buffer.concat([this.#held, bytes]);
    this.#read();
  }

  #read(): void {
    while (this.#held.length > 0 && this.#mayRead()) {
      if (!(this.#reading === undefined ? this.#readHead() : this.#readBody(this.#reading))) break;
    }
    const isReading = this.#reading !== undefined || !this.#isLast;
    const isPaused = isReading && !this.#mayRead();
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    if (isPaused) this.socket.pause();
    else this.socket.resume();
  }

  #mayRead(): boolean {
    if (this.#isClosed || !this.isWritable) return false;
    if (this.#reading !== undefined) return !this.#reading.exchange.isPaused;
    return !this.#isLast && this.#exchanges.length < PIPELINED_MAX;
  }

  /** Returns false when more bytes are needed. */
  #readHead(): boolean {
    const read = this.heads.read(this.#held, this.#searched);
    if (read === 'more') {
      this.#searched = this.#held.length;
      return false;
    }
    if ('code' in read) {
      this.#reject(read);
      return false;
    }
    this.#begin(read.head, read.byteLength);
    return true;
  }

  #begin(head: HttpHead, headBytes: number): void {
    this.#searched = 0;
    this.#held = this.#held.subarray(headBytes);
    const bodyBytes = bodyBytesOf(head);
    const exchange = new Exchange(head, this, bodyBytes !== 0);
    this.#exchanges.push(exchange);
    this.#hasServed = true;
    if (exchange.wantsClose) this.#isLast = true;
    const sink = this.handler.onRequest(exchange);
    if (sink === undefined || exchange.isAnswered) return;
    if (bodyBytes === 0) return sink.onEnd();
    this.#sinceMs = performance.now();
    this.#reading = { exchange, decoder: new BodyDecoder(bodyBytes, sink) };
    if (this.#held.length === 0 && !exchange.isStream) exchange.continue();
  }

  #readBody({ exchange, decoder }: Reading): boolean {
    const read = decoder.read(this.#held);
    // The request was answered before its end.
    if (this.#reading === undefined) return false;
    if (typeof read !== 'number') {
      this.#reject(read);
      return false;
    }
    this.#held = this.#held.subarray(read);
    if (decoder.isComplete) {
      this.#reading = undefined;
      exchange.isBodyRead = true;
      decoder.sink.onEnd();
    }
    return true;
  }

  /** The request that is arriving cannot be read. */
  #reject(rejected: Rejection): void {
    this.handler.onUnreadable(rejected);
    this.#isLast = true;
    this.#held = NO_BYTES;
    if (this.#reading !== undefined) {
      const { sink } = this.#reading.decoder;
      this.#reading = undefined;
      return sink.onMalformed(rejected);
    }
    const exchange = new Exchange(undefined, this, false);
    this.#exchanges.push(exchange);
    exchange.respond(rejectionResponse(rejected));
  }

  // Called by exchanges.

  isFirst(exchange: Exchange): boolean {
    return this.#exchanges[0] === exchange;
  }

  write(text: string): void {
    if (this.#out === '') atTurnEnd(this.#flush);
    this.#out += text;
  }

  closeAfter(): void {
    this.#isLast = true;
  }

  onResumed(): void {
    this.#read();
  }

  /** Sends the responses that are next. */
  onAnswered(exchange: Exchange): void {
    if (this.#isClosed) return;
    if (!exchange.isBodyRead) {
      // The rest of the body is ignored.
      this.#isLast = true;
      this.#reading = undefined;
      this.#held = NO_BYTES;
    }
    while (this.#exchanges[0]?.isAnswered) {
      const isOnly = this.#exchanges.length === 1;
      const nowMs = performance.now();
      const first = this.#exchanges.shift()!;
      const isClose = isOnly && (this.#isLast || this.#isStopping || this.isTooOld(nowMs));
      this.write(first.encode(isClose));
      first.onClose();
      if (isOnly) this.#sinceMs = nowMs;
      if (isClose) return this.#finish();
    }
    this.#exchanges[0]?.onFirst();
    if (this.isWaiting) this.handler.onIdle(this);
    if (this.#isPaused) this.#read();
  }

  readonly #flush = () => {
    const out = this.#out;
    this.#out = '';
    if (out === '' || this.#isClosed) return;
    if (!this.socket.write(out)) this.#unreadSinceMs ??= performance.now();
  };

  #onDrain(): void {
    this.#unreadSinceMs = undefined;
    this.#exchanges[0]?.onWritable();
    this.#read();
  }

  /** Closes this side; the client has some time to close its own. */
  #finish(): void {
    this.#isLast = true;
    this.#held = NO_BYTES;
    this.#flush();
    this.socket.end(() => {
      this.#sinceMs = performance.now();
    });
    if (this.#isPaused) this.#read();
  }

  #onClose(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const exchange of this.#exchanges.splice(0)) exchange.onClose();
  }
}

/** Undefined: the body is chunked. `readHead` has checked both headers. */
function bodyBytesOf({ headers }: HttpHead): number | undefined {
  if (headers.has('transfer-encoding')) return undefined;
  return Number(headers.get('content-length') ?? 0);
}
