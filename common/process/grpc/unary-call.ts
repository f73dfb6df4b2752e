/** A call with one request and one response, answered without the library. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import {
  type handleUnaryCall,
  type MethodDefinition,
  type ServerUnaryCall,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { rejection } from '../errors.js';
import { encodeFields } from '../http2/hpack-encoder.js';
import type { Field, NameAndValue } from '../http2/hpack-table.js';
import type { RequestListener, RequestStream } from '../http2/request-stream.js';
import type { MemoryWatch } from '../memory/memory-watch.js';
import type { AwaitedRequest, AwaitedRequests } from './awaited-requests.js';
import { deadlineIn, toServiceError } from './calls.js';
import { timeoutMs } from './plain-request.js';

type AuthContext = ReturnType<ServerUnaryCall<unknown, unknown>['getAuthContext']>;

/**
 * Called when a call begins; returns what to call at its end, or a status with which it ends at
 * once.
 */
export type OnCall = () => (() => void) | Partial<ServiceError>;

export interface UnaryMethod extends MethodDefinition<unknown, unknown> {
  readonly handle: handleUnaryCall<unknown, unknown>;
}

export interface UnaryCallOptions {
  readonly requestBytesMax: number;
  readonly onCall: OnCall;
  readonly awaited: Pick<AwaitedRequests, 'add' | 'delete'>;
  readonly memory: Pick<MemoryWatch, 'reserve' | 'release'>;
}

/** A message starts with a flag for compression, and its length in four bytes. */
const PREFIX_BYTES = 5;
const RESPONSE_FIELDS: readonly NameAndValue[] = [
  { name: ':status', value: '200' },
  { name: 'content-type', value: 'application/grpc+proto' },
  { name: 'grpc-accept-encoding', value: 'identity,deflate,gzip' },
];
const RESPONSE_HEAD = encodeFields(RESPONSE_FIELDS);
const OK_TRAILERS = encodeFields([
  { name: 'grpc-status', value: `${status.OK}` },
  { name: 'grpc-message', value: 'OK' },
]);

/** Also has those parts of `ServerUnaryCall` that our methods use. */
export class UnaryCall implements RequestListener, AwaitedRequest {
  request: unknown;
  readonly #onEnd: (() => void) | undefined;
  readonly #deadlineMs: number;
  /** The request as far as it has arrived. */
  #parts: Buffer[] = [];
  #bytes = 0;
  /** Bytes of memory that are reserved for a message which is arriving. */
  #reserved = 0;
  /** With its prefix; undefined: the prefix is incomplete. */
  #messageBytes: number | undefined;

  constructor(
    readonly stream: RequestStream,
    readonly socket: Socket,
    readonly fields: readonly Field[],
    readonly method: UnaryMethod,
    readonly options: UnaryCallOptions,
  ) {
    const timeout = fields.find(({ name }) => name === 'grpc-timeout')?.value;
    this.#deadlineMs =
      timeout === undefined ? Number.POSITIVE_INFINITY : deadlineIn(timeoutMs(timeout));
    const onEnd = options.onCall();
    if (typeof onEnd === 'function') {
      this.#onEnd = onEnd;
      stream.listener = this;
      options.awaited.add(this);
    } else this.#sendError(onEnd);
  }

  get metadata() {
    return {
      get: (wanted: string) =>
        this.fields.filter(({ name }) => name === wanted).map(({ value }) => value),
    };
  }

  get cancelled(): boolean {
    return this.stream.isClosed;
  }

  getDeadline(): number {
    return this.#deadlineMs;
  }

  getAuthContext(): AuthContext {
    return authContextOf(this.socket);
  }

  /** Called by the stream, like the next two. */
  onData(bytes: Buffer): void {
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
    if (this.#messageBytes === undefined && this.#bytes >= PREFIX_BYTES) this.#readPrefix();
    if (this.#messageBytes !== undefined && this.#bytes > this.#messageBytes) {
      this.#sendError(malformed('a unary call has one message', status.UNIMPLEMENTED));
    }
  }

  onEnd(): void {
    this.options.awaited.delete(this);
    if (this.stream.isClosed) return;
    if (this.#bytes !== this.#messageBytes) {
      return this.#sendError(malformed('the message is not complete', status.UNIMPLEMENTED));
    }
    const bytes = this.#joined().subarray(PREFIX_BYTES);
    this.#parts = [];
    this.#release();
    try {
      this.request = this.method.requestDeserialize(bytes);
    } catch {
      return this.#sendError(malformed('the message cannot be decoded'));
    }
    this.#handle();
  }

  onClose(): void {
    this.options.awaited.delete(this);
    this.#release();
    this.#onEnd!();
  }

  /** Ends the call with this status unless it is answered. */
  end(reason: Partial<ServiceError>): void {
    this.#sendError(reason);
  }

  #readPrefix(): void {
    const prefix = this.#joined();
    this.#parts = [prefix];
    const bytes = prefix.readUInt32BE(1);
    const { requestBytesMax } = this.options;
    if (prefix[0] !== 0) {
      this.#sendError(malformed('the message is compressed, the call is not'));
    } else if (bytes > requestBytesMax) this.#sendError(tooLarge(bytes, requestBytesMax));
    else if (this.#bytes < PREFIX_BYTES + bytes && !this.options.memory.reserve(bytes)) {
      this.#sendError(overloaded());
    } else {
      this.#messageBytes = PREFIX_BYTES + bytes;
      if (this.#bytes < this.#messageBytes) this.#reserved = bytes;
    }
  }

  #release(): void {
    if (this.#reserved > 0) this.options.memory.release(this.#reserved);
    this.#reserved = 0;
  }

  #joined(): Buffer {
    return this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
  }

  #handle(): void {
    const { handle, responseSerialize } = this.method;
    // A handler is written for the call of the library.
    const call = this as unknown as ServerUnaryCall<unknown, unknown>;
    try {
      handle(call, (error, response) => {
        if (error !== null) this.#sendError(error);
        else this.stream.respond(RESPONSE_HEAD, framed(responseSerialize(response)), OK_TRAILERS);
      });
    } catch (error) {
      // Like the library: one call fails, the others go on.
      this.#sendError(failed(error as Error));
    }
  }

  /** A response without a message: its headers are the trailers, too. */
  #sendError({ code = status.UNKNOWN, details = '', metadata }: Partial<ServiceError>): void {
    const own = Object.entries(metadata?.toHttp2Headers() ?? {}).flatMap(([name, values]) =>
      [values ?? []].flat().map((value) => ({ name, value: `${value}` })),
    );
    const head = encodeFields([
      ...RESPONSE_FIELDS,
      { name: 'grpc-status', value: `${code}` },
      { name: 'grpc-message', value: encodeURI(details) },
      ...own,
    ]);
    this.stream.respondEmpty(head);
  }
}

/** The certificate of a client, as calls of the library have it. */
export function authContextOf(socket: Socket): AuthContext {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return {};
  return { transportSecurityType: 'ssl', sslPeerCertificate: socket.getPeerCertificate() };
}

function framed(message: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  bytes[0] = 0;
  bytes.writeUInt32BE(message.length, 1);
  message.copy(bytes, PREFIX_BYTES);
  return bytes;
}

/** The statuses are those that gRPC prescribes (statuscodes.md), like those of the library. */
function malformed(message: string, code = status.INTERNAL): Partial<ServiceError> {
  return { ...toServiceError(rejection('REQUEST_MALFORMED', message)), code };
}

function failed({ message }: Error): Partial<ServiceError> {
  return { ...toServiceError(rejection('INTERNAL', message)), code: status.UNKNOWN };
}

function overloaded(): Partial<ServiceError> {
  const message = 'the process is short of memory; retry later, or through another one';
  return toServiceError(rejection('OVERLOADED', message));
}

function tooLarge(bytes: number, bytesMax: number): Partial<ServiceError> {
  const message = `the message has ${bytes} bytes; the maximum is ${bytesMax}`;
  return {
    ...toServiceError(rejection('PAYLOAD_TOO_LARGE', message)),
    code: status.RESOURCE_EXHAUSTED,
  };
}
