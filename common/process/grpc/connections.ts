/** All connections and calls of a gRPC server: their bounds, their age, and their metrics. */
import { constants } from 'node:http2';
import type { Socket } from 'node:net';
import type {
  Server,
  ServerInterceptingCall,
  ServerInterceptor,
  ServerOptions,
  ServiceError,
} from '@grpc/grpc-js';
import type { Counter } from 'prom-client';
import { rejection } from '../errors.js';
import type { Http2Connection } from '../http2/connection.js';
import type { Metrics } from '../metrics.js';
import { AwaitedRequests } from './awaited-requests.js';
import { OWN_SERVICES, toServiceError } from './calls.js';
import { type CloseReason, Connection, type ConnectionConfig } from './connection.js';
import { http2ServersOf, streamOf } from './grpc-server.js';
import { LibrarySession } from './library-session.js';
import type { OnCall } from './unary-call.js';

export interface ConnectionsConfig extends ConnectionConfig {
  readonly connectionsMax: number;
  readonly callsPerConnectionMax: number;
  readonly callsMax: number;
  /** Time for the request of a call to arrive whole. */
  readonly requestMsMax: number;
}

export class GrpcConnections {
  /** By address and port of the peer, as in `call.getPeer()`. */
  readonly #open = new Map<string, Connection>();
  #calls = 0;
  readonly #closed: Counter<'reason'>;
  readonly #rejected: Counter<'bound'>;
  readonly awaited: AwaitedRequests;

  constructor(
    readonly config: ConnectionsConfig,
    metrics: Metrics,
    role: 'router' | 'control',
  ) {
    metrics.gauge(
      `longline_${role}_grpc_connections`,
      'Open gRPC connections',
      () => this.#open.size,
    );
    metrics.gauge(
      `longline_${role}_grpc_calls`,
      'gRPC calls and streams in progress',
      () => this.#calls,
    );
    this.#closed = metrics.counter(
      `longline_${role}_grpc_connections_closed_total`,
      'gRPC connections that the server closed, by reason: maximum age, grace after it, TLS handshake, too many pings, silent peer, invalid HTTP/2, flood of HTTP/2 frames',
      ['reason'],
    );
    this.#rejected = metrics.counter(
      `longline_${role}_grpc_rejected_total`,
      'gRPC connections and calls rejected because a bound was reached, by bound: connections, calls, or the time for a request to arrive',
      ['bound'],
    );
    this.awaited = new AwaitedRequests(config.requestMsMax, () =>
      this.#rejected.inc({ bound: 'request-time' }),
    );
  }

  get options(): ServerOptions {
    return { 'grpc.max_concurrent_streams': this.config.callsPerConnectionMax };
  }

  get interceptors(): ServerInterceptor[] {
    // The last one is called first: a call over the bound does not wait for its request.
    return [this.#boundRequests, this.#boundCalls];
  }

  /** Looks after the connections of a server from now on; to be called when it listens. */
  attach(server: Server): void {
    for (const http2Server of http2ServersOf(server)) {
      http2Server.maxConnections = this.config.connectionsMax;
      http2Server.on('drop', () => this.#rejected.inc({ bound: 'connections' }));
      // Before the listener of Node, which opens the session.
      http2Server.prependListener('connection', (socket: Socket) => this.#add(socket));
      http2Server.on('session', (session) => {
        this.#open.get(peerOf(session.socket))?.open(new LibrarySession(session));
      });
    }
  }

  /** A connection that does not belong to the library is ready for calls. */
  readonly open = (connection: Http2Connection) => {
    this.#open.get(peerOf(connection.socket))?.open(connection);
  };

  /** Calls back when the connection of a peer has reached its age. Returns how to undo that. */
  onRetired(peer: string, callback: () => void): () => void {
    return this.#open.get(peer)?.onRetired(callback) ?? (() => {});
  }

  #add(socket: Socket): void {
    const peer = peerOf(socket);
    const onClose = (reason: CloseReason) => this.#closed.inc({ reason });
    const connection = new Connection(socket, this.config, onClose);
    this.#open.set(peer, connection);
    socket.once('close', () => {
      // The peer may have opened another connection from the same port already.
      if (this.#open.get(peer) === connection) this.#open.delete(peer);
    });
  }

  /** Like `addCodes`, it replaces methods of the call and returns the call itself. */
  readonly #boundCalls: ServerInterceptor = (method, call) => {
    // Health checks are not bounded: a full server must be able to say that it serves.
    if (!method.path.startsWith(OWN_SERVICES)) return call as ServerInterceptingCall;
    const start = call.start.bind(call);
    call.start = (listener) => {
      const onEnd = this.onCall();
      if (typeof onEnd !== 'function') {
        const { code, details, metadata } = onEnd;
        call.sendStatus({ code: code!, details: details!, metadata });
        return;
      }
      const onCancel = listener.onCancel.bind(listener);
      // Called once for every call, however it ends.
      listener.onCancel = () => {
        onEnd();
        onCancel();
      };
      start(listener);
    };
    return call as ServerInterceptingCall;
  };

  /** Bounds the time for requests, those of health checks included. */
  readonly #boundRequests: ServerInterceptor = (method, call) => {
    if (method.requestStream) return call as ServerInterceptingCall;
    const awaited = {
      end({ code, details, metadata }: Partial<ServiceError>) {
        call.sendStatus({ code: code!, details: details!, metadata });
        // A client that sends nothing does not close its side of the stream either.
        streamOf(call).close(constants.NGHTTP2_NO_ERROR);
      },
    };
    const start = call.start.bind(call);
    call.start = (listener) => {
      this.awaited.add(awaited);
      const onReceiveHalfClose = listener.onReceiveHalfClose.bind(listener);
      listener.onReceiveHalfClose = () => {
        this.awaited.delete(awaited);
        onReceiveHalfClose();
      };
      const onCancel = listener.onCancel.bind(listener);
      listener.onCancel = () => {
        this.awaited.delete(awaited);
        onCancel();
      };
      start(listener);
    };
    return call as ServerInterceptingCall;
  };

  /** Counts a call; returns what to call at its end, or the status of a call over the bound. */
  readonly onCall: OnCall = () => {
    if (this.#calls >= this.config.callsMax) {
      this.#rejected.inc({ bound: 'calls' });
      return toServiceError(
        rejection('OVERLOADED', `${this.#calls} calls are in progress; retry later`),
      );
    }
    this.#calls++;
    return this.#onCallEnd;
  };

  readonly #onCallEnd = () => {
    this.#calls--;
  };
}

function peerOf({
  remoteAddress,
  remotePort,
}: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  return `${remoteAddress}:${remotePort}`;
}
