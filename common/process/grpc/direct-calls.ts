/**
 * Answers unary methods past the library, which costs a router more than the push itself. Only the
 * plain case: one uncompressed message. A call with anything else, such as compression or an
 * unknown timeout, goes to the library, on the same connection. What the caller sees is the same
 * (gRPC over HTTP/2, PROTOCOL-HTTP2.md).
 */
import type { Http2Server, Http2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type {
  handleUnaryCall,
  MethodDefinition,
  Server,
  ServerInterceptingCall,
  ServerInterceptor,
  ServiceError,
} from '@grpc/grpc-js';
import { Http2Connection } from '../http2/connection.js';
import type { Field } from '../http2/hpack-table.js';
import type { RequestStream } from '../http2/request-stream.js';
import { http2ServersOf, streamOf } from './grpc-server.js';
import { isPlain } from './plain-request.js';
import { authContextOf, UnaryCall, type UnaryCallOptions, type UnaryMethod } from './unary-call.js';

interface DirectCallsOptions extends UnaryCallOptions {
  readonly callsPerConnectionMax: number;
  readonly onConnection: (connection: Http2Connection) => void;
}

type OnSocket = (this: Http2Server, socket: Duplex) => void;

/** The sockets of the clients whose connections the library sees only from within the process. */
const clients = new WeakMap<Http2Session, Socket>();

export class DirectCalls {
  /** By path. */
  readonly #methods = new Map<string, UnaryMethod>();
  readonly #connections = new Set<Http2Connection>();

  constructor(readonly options: DirectCallsOptions) {}

  add<Request, Response>(
    method: MethodDefinition<Request, Response>,
    handle: handleUnaryCall<Request, Response>,
  ): void {
    // A method and its handler have the same types; the map cannot say so.
    this.#methods.set(method.path, { ...method, handle } as unknown as UnaryMethod);
  }

  /** Takes the connections of a server from now on; to be called when it listens. */
  attach(server: Server): void {
    for (const http2Server of http2ServersOf(server)) {
      const event = http2Server.listenerCount('secureConnection')
        ? 'secureConnection'
        : 'connection';
      // This is how Node.js opens a connection; it is not exported.
      const listener = http2Server.listeners(event).find(({ name }) => name === LISTENER);
      if (listener === undefined) throw new Error(`${event} has no ${LISTENER}`);
      http2Server.removeListener(event, listener as OnSocket);
      http2Server.on(event, (socket: Socket) => {
        const isHttp2 = !(socket instanceof TLSSocket) || socket.alpnProtocol === 'h2';
        if (isHttp2) this.#open(socket, http2Server, listener as OnSocket);
        else listener.call(http2Server, socket);
      });
    }
  }

  /** No connection takes further calls; each ends with its last one. */
  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  /**
   * Answers all calls with this status. Clients report a connection that is cut in different ways.
   */
  end(reason: Partial<ServiceError>): void {
    for (const connection of this.#connections) {
      for (const { listener } of connection.requests) {
        if (listener instanceof UnaryCall) listener.end(reason);
      }
    }
  }

  destroy(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  #open(socket: Socket, http2Server: Http2Server, onSocket: OnSocket): void {
    const connection = new Http2Connection(socket, {
      streamsMax: this.options.callsPerConnectionMax,
      onRequest: (stream, fields) => this.#onRequest(stream, socket, fields),
      onLibraryConnection: (end) => {
        http2Server.once('session', (session) => clients.set(session, socket));
        onSocket.call(http2Server, end);
      },
    });
    this.#connections.add(connection);
    socket.once('close', () => this.#connections.delete(connection));
    this.options.onConnection(connection);
  }

  #onRequest(stream: RequestStream, socket: Socket, fields: readonly Field[]): boolean {
    const method = this.#methods.get(fields.find(({ name }) => name === ':path')?.value ?? '');
    if (method === undefined || !isPlain(fields)) return false;
    new UnaryCall(stream, socket, fields, method, this.options);
    return true;
  }
}

/** Name of the function in Node.js. */
const LISTENER = 'connectionListener';

/** Where calls get to the library through this process, they still know their client. */
export const withClient: ServerInterceptor = (_method, call) => {
  const { session } = streamOf(call);
  const socket = session && clients.get(session);
  if (socket !== undefined) {
    call.getPeer = () => `${socket.remoteAddress}:${socket.remotePort}`;
    call.getAuthContext = () => authContextOf(socket);
  }
  return call as ServerInterceptingCall;
};
