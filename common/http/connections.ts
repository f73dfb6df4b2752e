/**
 * All connections of a role's HTTP server: what they may hold, and which are closed when that is
 * too much. Without this, Node.js creates a request and a response for everything that a client has
 * pipelined, reads nothing else meanwhile, and keeps every connection that is open.
 *
 * The bounds do not keep other clients out: where a connection is too many, the one that has been
 * waiting for its client for the longest time is closed.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Counter } from 'prom-client';
import type { Role } from '../process/config.js';
import type { ErrorCode } from '../process/errors.js';
import type { Metrics } from '../process/metrics.js';
import { limitSocketBuffers } from '../transport/native-transport.js';
import { HttpConnection } from './connection.js';

/**
 * `full` too many connections, and this one waited for its client for the longest time, or was new
 * while none waited · `pipelined` too many bytes behind a request that is not answered · `unread`
 * the client did not read its response in time · `unsent` too many bytes of responses wait for
 * their clients
 */
type CloseReason = 'full' | 'pipelined' | 'unread' | 'unsent';

/** Maximum bytes of responses that wait for their clients, of all connections. */
const UNSENT_BYTES_MAX = 32 * 1024 * 1024;
/** Size of the kernel's buffers of a connection, in each direction; Linux doubles the number. */
const KERNEL_BYTES_MAX = 16 * 1024;
/** Time for the client to read a response that is complete. */
const UNREAD_MS_MAX = 10_000;
const STEP_MS = 1_000;
/** Time for requests in one turn of the event loop; more wait for the next one. */
const TURN_MS = 5;

export class HttpConnections {
  /** Ordered by their last response, the oldest first. */
  readonly #open = new Map<Socket, HttpConnection>();
  /** Those with bytes that wait for a turn of the event loop, in order of arrival. */
  #queue: HttpConnection[] = [];
  /** End of the time for requests in this turn; undefined before its first request. */
  #turnEndMs: number | undefined;
  #unsentBytes = 0;
  readonly #closed: Counter<'reason'>;
  readonly #rejected: Counter<'code'>;

  constructor(
    metrics: Metrics,
    role: Role,
    readonly connectionsMax: number,
  ) {
    metrics.gauge(
      `longline_${role}_http_connections`,
      'Open HTTP connections',
      () => this.#open.size,
    );
    metrics.gauge(
      `longline_${role}_http_unsent_bytes`,
      'Bytes of HTTP responses that their clients have not read yet',
      () => this.#unsentBytes,
    );
    this.#closed = metrics.counter(
      `longline_${role}_http_connections_closed_total`,
      'HTTP connections that the server closed, by reason: full (too many connections), pipelined ' +
        '(too many bytes behind an unanswered request), unread (a response was not read in time) or ' +
        'unsent (too many bytes of responses waited for their clients)',
      ['reason'],
    );
    this.#rejected = metrics.counter(
      `longline_${role}_http_unreadable_total`,
      'HTTP requests that could not be read, by error code',
      ['code'],
    );
  }

  /** Looks after the connections of a server from now on. */
  attach(server: Server): void {
    server.once('listening', () => limitSocketBuffers(server, KERNEL_BYTES_MAX));
    // After the listener of Node.js, which makes the socket a connection of HTTP.
    server.on('connection', (socket: Socket) => this.#add(socket));
    server.prependListener('request', (request, response) => this.#onRequest(request, response));
    const timer = setInterval(() => this.#step(), STEP_MS);
    timer.unref();
    server.once('close', () => clearInterval(timer));
  }

  /** A response of this size is about to be sent. */
  onSend({ socket }: IncomingMessage, bytes: number): void {
    const connection = this.#open.get(socket);
    if (connection === undefined) return;
    connection.unsentBytes += bytes;
    this.#unsentBytes += bytes;
    for (const other of this.#open.values()) {
      if (this.#unsentBytes <= UNSENT_BYTES_MAX) return;
      if (other.isUnread) this.#close(other, 'unsent');
    }
  }

  /** A request could not be read. */
  onUnreadable(code: ErrorCode): void {
    this.#rejected.inc({ code });
  }

  #add(socket: Socket): void {
    if (this.#open.size >= this.connectionsMax && !this.#makeRoom()) {
      this.#closed.inc({ reason: 'full' });
      socket.destroy();
      return;
    }
    const connection = new HttpConnection(socket, this.#onBytes);
    this.#open.set(socket, connection);
    socket.on('drain', () => this.#enqueue(connection));
    socket.once('close', () => this.#forget(connection));
  }

  #makeRoom(): boolean {
    for (const connection of this.#open.values()) {
      if (!connection.isWaiting) continue;
      this.#close(connection, 'full');
      return true;
    }
    return false;
  }

  readonly #onBytes = (connection: HttpConnection) => {
    if (this.#hasTime()) connection.parse();
    if (connection.isOverfull) this.#close(connection, 'pipelined');
    else this.#enqueue(connection);
  };

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    this.#open.get(request.socket)?.onRequest({ request, response }, this.#onSent);
  }

  readonly #onSent = (connection: HttpConnection) => {
    if (!this.#forget(connection)) return;
    this.#open.set(connection.socket, connection);
    this.#enqueue(connection);
  };

  /** Returns false if it was closed already. */
  #forget(connection: HttpConnection): boolean {
    this.#unsentBytes -= connection.unsentBytes;
    connection.unsentBytes = 0;
    return this.#open.delete(connection.socket);
  }

  #enqueue(connection: HttpConnection): void {
    if (connection.isQueued || !connection.isReady) return;
    connection.isQueued = true;
    this.#queue.push(connection);
    this.#beginTurn();
  }

  #beginTurn(): void {
    if (this.#turnEndMs !== undefined) return;
    this.#turnEndMs = performance.now() + TURN_MS;
    setImmediate(this.#onTurn);
  }

  /** Whether requests may use more time in this turn of the event loop. */
  #hasTime(): boolean {
    this.#beginTurn();
    return performance.now() < this.#turnEndMs!;
  }

  readonly #onTurn = () => {
    this.#turnEndMs = undefined;
    if (this.#queue.length === 0) return;
    const queue = this.#queue;
    this.#queue = [];
    let parsed = 0;
    while (parsed < queue.length && this.#hasTime()) {
      const connection = queue[parsed++]!;
      connection.isQueued = false;
      connection.parse();
    }
    this.#queue = [...queue.slice(parsed), ...this.#queue];
  };

  #step(): void {
    const nowMs = performance.now();
    for (const connection of this.#open.values()) {
      connection.unreadSinceMs = connection.isUnread
        ? (connection.unreadSinceMs ?? nowMs)
        : undefined;
      if (nowMs - (connection.unreadSinceMs ?? nowMs) > UNREAD_MS_MAX) {
        this.#close(connection, 'unread');
      }
    }
  }

  #close(connection: HttpConnection, reason: CloseReason): void {
    this.#closed.inc({ reason });
    this.#forget(connection);
    // Unread bytes would stay in the kernel.
    if (connection.isUnread) connection.socket.resetAndDestroy();
    else connection.socket.destroy();
  }
}
