/**
 * The portable transport over `node:net`, and the reference implementation of the contract.
 *
 * It adds no closure, timer or emitter per connection to those of `net`: all sockets share the same
 * few listener functions, which find their connection on the socket.
 *
 * With an identity, accepted connections use Node's TLS.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { TLSSocket, type Server as TlsServer } from 'node:tls';
import { peerText } from '../net/ip-address.js';
import type { TlsIdentity } from './tls-identity.js';
import {
  type CloseCause,
  type Connection,
  connectionOf,
  slotOf,
  type TlsConnections,
  type Transport,
  type TransportEvents,
  type TransportLimits,
  type TransportMemory,
  WRITE_RESULTS,
  type WriteResult,
} from './transport.js';

/** Longest wait for the peer to close a connection that we ended. */
const LINGER_MS = 2_000;

interface TransportSocket extends Socket {
  connection: Connection;
  transport: NetTransport;
  cause: CloseCause;
  timer: NodeJS.Timeout | undefined;
  /** In a handshake that began after `onOpen`. */
  isSecuring: boolean;
  /** The other socket of the pipe. */
  pipedTo: TransportSocket | undefined;
}

type SecuredSocket = TransportSocket & TLSSocket;

export class NetTransport implements Transport {
  readonly #server: Server;
  /** Makes handshakes. */
  readonly #tls: TlsServer | undefined;
  /** By slot. */
  readonly #sockets: (TransportSocket | undefined)[] = [];
  /** By slot: times that it was used. */
  readonly #generations: number[] = [];
  readonly #freeSlots: number[] = [];
  /** TCP sockets in their handshake, by the addresses of both ends. */
  readonly #securing = new Map<string, Socket>();
  #openCount = 0;

  constructor(
    readonly events: TransportEvents,
    readonly limits: TransportLimits,
    readonly identity?: TlsIdentity,
  ) {
    // Half-open: the user decides what to do after a FIN.
    const options = { allowHalfOpen: true, noDelay: true, keepAlive: true };
    this.#server = createServer(options);
    this.#server.maxConnections = limits.connectionsMax;
    const startsPlain = identity?.files.startsPlain ?? true;
    this.#server.on('connection', (socket) => {
      if (startsPlain) events.onOpen(this.#register(socket as TransportSocket));
      else this.#startHandshake(socket);
    });
    this.#server.on('drop', () => events.onOverLimit());
    this.#tls = identity?.createServer();
    this.#tls?.on('secureConnection', (socket) => this.#onSecure(socket as SecuredSocket));
  }

  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host, port, backlog: 4096 }, () => {
        this.#server.off('error', reject);
        const address = this.#server.address();
        resolve(typeof address === 'object' && address !== null ? address.port : port);
      });
    });
  }

  connect(host: string, port: number, localAddress: string): Connection | undefined {
    if (this.#openCount >= this.limits.connectionsMax) return undefined;
    const from = localAddress === '' ? {} : { localAddress };
    const options = { host, port, ...from, allowHalfOpen: true, noDelay: true, keepAlive: true };
    const socket = connect(options) as TransportSocket;
    socket.once('connect', onConnect);
    return this.#register(socket);
  }

  write(connection: Connection, bytes: Uint8Array): WriteResult {
    const socket = this.#find(connection);
    if (socket === undefined || !isOpen(socket)) return 'gone';
    const buffered = socket.writableLength;
    if (buffered > 0 && buffered + bytes.length > this.limits.sendBufferBytesMax) return 'full';
    socket.write(bytes);
    return 'accepted';
  }

  writeMany(
    connections: Float64Array,
    count: number,
    bytes: Uint8Array,
    results: Uint8Array,
  ): void {
    for (let i = 0; i < count; i++) {
      results[i] = WRITE_RESULTS.indexOf(this.write(connections[i]!, bytes));
    }
  }

  secure(connection: Connection, first: Uint8Array): void {
    const socket = this.#find(connection);
    if (socket === undefined || !isOpen(socket) || this.#tls === undefined) return;
    socket.isSecuring = true;
    socket.off('data', onData).off('drain', onDrain).off('end', onEnd).pause();
    socket.unshift(Buffer.from(first));
    this.#startHandshake(socket);
  }

  setTimer(connection: Connection, afterMs: number): void {
    const socket = this.#find(connection);
    if (socket === undefined || socket.cause === 'local') return;
    clearTimeout(socket.timer);
    socket.timer = afterMs === 0 ? undefined : setTimeout(onTimer, afterMs, socket);
  }

  end(connection: Connection): void {
    const socket = this.#find(connection);
    if (socket === undefined) return;
    if (socket.cause === 'local') return;
    unpipe(socket);
    socket.cause = 'local';
    clearTimeout(socket.timer);
    if (socket.connecting || socket.isSecuring) {
      socket.destroy();
      return;
    }
    // Closing while the peer still sends would reset the connection, and the peer could lose our
    // last bytes (RFC 9112 §9.6). So send a FIN, read and drop bytes, and wait for the peer's FIN.
    socket.end();
    socket.resume();
    if (socket.readableEnded) socket.destroySoon();
    else setTimeout(destroySocket, LINGER_MS, socket).unref();
  }

  destroy(connection: Connection): void {
    const socket = this.#find(connection);
    if (socket === undefined) return;
    unpipe(socket);
    socket.cause = 'local';
    // Node cannot reset a TLS socket.
    if (socket instanceof TLSSocket) socket.destroy();
    else socket.resetAndDestroy();
  }

  bufferedBytes(connection: Connection): number {
    return this.#find(connection)?.writableLength ?? 0;
  }

  remoteAddress(connection: Connection): string | undefined {
    const socket = this.#find(connection);
    if (socket?.remoteAddress === undefined) return undefined;
    return peerText(socket.remoteAddress, socket.remotePort!);
  }

  pause(connection: Connection): void {
    const socket = this.#find(connection);
    if (socket?.pipedTo === undefined) socket?.pause();
  }

  pipe(one: Connection, another: Connection): boolean {
    const [socket, other] = [this.#find(one), this.#find(another)];
    if (socket === undefined || other === undefined || socket === other) return false;
    if (!isPipeable(socket) || !isPipeable(other)) return false;
    socket.pipedTo = other;
    other.pipedTo = socket;
    for (const each of [socket, other]) {
      if (each.readableEnded) each.pipedTo!.end();
      if (!each.pipedTo!.writableNeedDrain) each.resume();
    }
    return true;
  }

  acceptAtMost(): void {}

  stopListening(): void {
    this.#server.close();
  }

  acceptPauses(): number {
    return 0;
  }

  memory(): TransportMemory {
    const buffered = this.#sockets.reduce((sum, socket) => sum + (socket?.writableLength ?? 0), 0);
    return { slots: 0, sendBuffers: buffered, tls12: 0, tls13: 0 };
  }

  tlsConnections(): TlsConnections {
    const secured = this.#sockets.filter((socket) => socket instanceof TLSSocket);
    const tls12 = secured.filter((socket) => socket.getProtocol() === 'TLSv1.2').length;
    return [
      ['1.2', tls12],
      ['1.3', secured.length - tls12],
    ];
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      for (const socket of this.#sockets) socket?.destroy();
      for (const socket of this.#securing.values()) socket.destroy();
    });
  }

  #startHandshake(socket: Socket): void {
    const key = endsOf(socket);
    this.#securing.set(key, socket);
    socket.once('close', () => this.#securing.delete(key));
    this.#tls!.emit('connection', socket);
  }

  #onSecure(socket: SecuredSocket): void {
    const raw = this.#securing.get(endsOf(socket)) as TransportSocket | undefined;
    if (raw === undefined || this.identity!.isRejected(socket)) {
      socket.destroy();
      return;
    }
    this.#securing.delete(endsOf(socket));
    if (raw.isSecuring) this.#replace(raw, socket);
    else this.events.onOpen(this.#register(socket));
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return;
    this.events.onClientCertificate?.(socket.connection, certificate.raw);
  }

  /** The slot of the TCP socket becomes that of the TLS socket. */
  #replace(raw: TransportSocket, socket: TransportSocket): void {
    const { connection, cause, timer } = raw;
    raw.off('close', onClose);
    Object.assign(socket, { connection, transport: this, cause, timer, isSecuring: false });
    this.#sockets[slotOf(connection)] = socket;
    this.#listen(socket);
  }

  #register(socket: TransportSocket): Connection {
    const slot = this.#freeSlots.pop() ?? this.#sockets.length;
    const generation = (this.#generations[slot] ?? 0) + 1;
    this.#generations[slot] = generation;
    this.#sockets[slot] = socket;
    socket.connection = connectionOf(slot, generation);
    socket.transport = this;
    socket.cause = 'peer';
    socket.timer = undefined;
    socket.isSecuring = false;
    socket.pipedTo = undefined;
    this.#openCount++;
    this.#listen(socket);
    return socket.connection;
  }

  #listen(socket: TransportSocket): void {
    socket.on('data', onData);
    socket.on('drain', onDrain);
    socket.on('end', onEnd);
    socket.on('error', onError);
    socket.on('close', onClose);
  }

  #find(connection: Connection): TransportSocket | undefined {
    const socket = this.#sockets[slotOf(connection)];
    return socket?.connection === connection ? socket : undefined;
  }

  /** Frees the slot of a closed socket; called by the shared listeners below. */
  release(socket: TransportSocket): void {
    const slot = slotOf(socket.connection);
    clearTimeout(socket.timer);
    unpipe(socket);
    this.#openCount--;
    this.events.onClose(socket.connection, socket.cause);
    this.#sockets[slot] = undefined;
    this.#freeSlots.push(slot);
  }
}

function onConnect(this: TransportSocket): void {
  this.transport.events.onOpen(this.connection);
}

function onTimer(socket: TransportSocket): void {
  socket.transport.events.onTimer(socket.connection);
}

function destroySocket(socket: TransportSocket): void {
  socket.destroy();
}

/** The addresses of both ends. */
function endsOf({ remoteAddress, remotePort, localAddress }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}

function isOpen(socket: TransportSocket): boolean {
  return socket.writable && !socket.connecting && !socket.isSecuring;
}

function isPipeable(socket: TransportSocket): boolean {
  return socket.pipedTo === undefined && isOpen(socket);
}

/** Dissolves the pipe: the other socket becomes an ordinary connection. */
function unpipe(socket: TransportSocket): void {
  const { pipedTo } = socket;
  if (pipedTo === undefined) return;
  socket.pipedTo = pipedTo.pipedTo = undefined;
  pipedTo.resume();
}

function onData(this: TransportSocket, bytes: Buffer): void {
  if (this.cause === 'local') return;
  if (this.pipedTo === undefined) this.transport.events.onBytes(this.connection, bytes);
  else if (!this.pipedTo.write(bytes)) this.pause();
}

function onDrain(this: TransportSocket): void {
  this.pipedTo?.resume();
}

function onEnd(this: TransportSocket): void {
  if (this.cause === 'local') return this.destroySoon();
  this.transport.events.onEnd(this.connection);
  this.pipedTo?.end();
}

function onError(this: TransportSocket, error: NodeJS.ErrnoException): void {
  // A reset by the peer is normal. Any other error comes from the system.
  if (this.cause === 'peer' && error.code !== 'ECONNRESET' && error.code !== 'EPIPE') {
    this.cause = 'error';
  }
}

function onClose(this: TransportSocket): void {
  this.transport.release(this);
}
