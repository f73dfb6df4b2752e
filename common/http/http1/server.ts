/**
 * An HTTP/1.1 server for many small requests over few connections, which costs less than that of
 * Node.js (docs/decisions/0027-http-for-backends.md). Its connections are bounded: one too many
 * replaces the one that has waited for a request for the longest time.
 */
import type { AddressInfo, Server, Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import { listenOn, within } from '../../process/lifecycle.js';
import { limitSocketBuffers } from '../../transport/native-transport.js';
import { type ConnectionHandler, Http1Connection, type Overdue } from './connection.js';
import { HeadCache } from './head-cache.js';

/**
 * `full` too many connections, and this one waited for a request for the longest time, or was new
 * while none waited · `handshake` the TLS handshake failed, or took too long
 */
export type CloseReason = Overdue | 'full' | 'handshake';

export interface Http1ServerOptions extends Omit<ConnectionHandler, 'onIdle'> {
  readonly connectionsMax: number;
  /** After which a response ends its connection; 0: no maximum. */
  readonly ageMsMax: number;
  readonly onClosed: (reason: CloseReason) => void;
}

const CHECK_MS = 1_000;
/** Size of the kernel's buffers of a connection, in each direction; Linux doubles the number. */
const KERNEL_BYTES_MAX = 32 * 1024;

export class Http1Server {
  /** TLS handshakes included. */
  readonly #sockets = new Set<Socket>();
  /** Ordered by their last response, the oldest first. */
  readonly #open = new Map<Socket, Http1Connection>();
  readonly #handler: ConnectionHandler;
  readonly #heads = new HeadCache();
  readonly #timer: NodeJS.Timeout;

  constructor(
    readonly server: Server | TlsServer,
    readonly options: Http1ServerOptions,
  ) {
    this.#handler = {
      onRequest: (exchange) => options.onRequest(exchange),
      onUnreadable: (rejected) => options.onUnreadable(rejected),
      onIdle: (connection) => {
        this.#open.delete(connection.socket);
        this.#open.set(connection.socket, connection);
      },
    };
    server.on('connection', (socket: Socket) => this.#onSocket(socket));
    if (server instanceof TlsServer) {
      server.on('secureConnection', (socket) => this.#onOpen(socket));
      server.on('tlsClientError', (_error, socket) => {
        options.onClosed('handshake');
        socket.destroy();
      });
    }
    this.#timer = setInterval(() => this.#check(), CHECK_MS);
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** Resolves with the bound port. @throws EnvironmentError when it cannot listen */
  listen(host: string, port: number): Promise<number> {
    const { server } = this;
    return listenOn(host, port, async () => {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, host, resolve);
      });
      limitSocketBuffers(server, KERNEL_BYTES_MAX);
      return (server.address() as AddressInfo).port;
    });
  }

  /**
   * Accepts nothing more, and ends connections when their requests are answered; those that are not
   * within `graceMs` are closed.
   */
  async stop(graceMs: number): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const connection of this.#open.values()) connection.stop();
    await within(graceMs, closed);
    for (const socket of this.#sockets) socket.destroy();
    clearInterval(this.#timer);
  }

  #onSocket(socket: Socket): void {
    if (this.#sockets.size >= this.options.connectionsMax && !this.#makeRoom()) {
      this.options.onClosed('full');
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    if (!(this.server instanceof TlsServer)) this.#onOpen(socket);
  }

  #onOpen(socket: Socket): void {
    const connection = new Http1Connection(
      socket,
      this.#handler,
      this.#heads,
      this.options.ageMsMax,
    );
    this.#open.set(socket, connection);
    socket.once('close', () => this.#open.delete(socket));
    if (!this.server.listening) connection.stop();
  }

  #makeRoom(): boolean {
    for (const connection of this.#open.values()) {
      if (!connection.isWaiting) continue;
      this.options.onClosed('full');
      this.#open.delete(connection.socket);
      connection.destroy();
      return true;
    }
    return false;
  }

  #check(): void {
    const nowMs = performance.now();
    for (const connection of this.#open.values()) {
      const reason = connection.check(nowMs);
      if (reason !== undefined) this.options.onClosed(reason);
    }
  }
}
