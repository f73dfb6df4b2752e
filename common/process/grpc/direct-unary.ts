/**
 * Answers a unary method on the library's own HTTP/2 server, past its machinery for calls, which
 * costs a router more than the push itself. Only the plain case: one uncompressed message. A call
 * with anything else, such as compression or an unknown timeout, goes to the library, on the same
 * connection. What the caller sees is the same (gRPC over HTTP/2, PROTOCOL-HTTP2.md).
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { TLSSocket } from 'node:tls';
import {
  type handleUnaryCall,
  type MethodDefinition,
  type Server,
  type ServerUnaryCall,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { rejection } from '../errors.js';
import type { MemoryWatch } from '../memory/memory-watch.js';
import { deadlineIn, toServiceError } from './calls.js';
import { http2ServersOf } from './grpc-server.js';

type OnStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number) => void;

/** A message starts with a flag for compression, and its length in four bytes. */
const PREFIX_BYTES = 5;
const PLAIN_TYPES = ['application/grpc', 'application/grpc+proto'];
const TIMEOUT = /^(\d{1,8})([HMSmun])$/;
const TIMEOUT_UNIT_MS: Record<string, number> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};
const RESPONSE_HEADERS = {
  ':status': 200,
  'content-type': 'application/grpc+proto',
  'grpc-accept-encoding': 'identity,deflate,gzip',
};
const OK_TRAILERS = { 'grpc-status': status.OK, 'grpc-message': 'OK' };

/** Called when a call begins; returns what to call at its end, or a status with which it ends at once. */
export type OnCall = () => (() => void) | Partial<ServiceError>;

interface DirectOptions {
  readonly requestBytesMax: number;
  readonly onCall: OnCall;
  readonly memory: Pick<MemoryWatch, 'reserve' | 'release'>;
}

/** To be called when the server listens. */
export function answerDirectly<Request, Response>(
  server: Server,
  method: MethodDefinition<Request, Response>,
  handle: handleUnaryCall<Request, Response>,
  { requestBytesMax, onCall, memory }: DirectOptions,
): void {
  const answer = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on('error', ignore); // The connection broke; `close` follows.
    const onEnd = onCall();
    if (typeof onEnd !== 'function') return sendError(stream, onEnd);
    stream.once('close', onEnd);
    readMessage(stream, requestBytesMax, memory, (message) => {
      if (!Buffer.isBuffer(message)) return sendError(stream, message);
      const request = decode(method, message);
      if (request === undefined)
        return sendError(stream, malformed('the message cannot be decoded'));
      // A handler is written for the call of the library; ours use only these parts of it.
      const call = new DirectCall(stream, headers, request);
      try {
        handle(call as unknown as ServerUnaryCall<Request, Response>, (error, response) => {
          if (error !== null) sendError(stream, error);
          else sendResponse(stream, method.responseSerialize(response!));
        });
      } catch (error) {
        // Like the library: one call fails, the others go on.
        sendError(stream, failed(error as Error));
      }
    });
  };
  for (const http2Server of http2ServersOf(server)) {
    const [library] = http2Server.listeners('stream') as OnStream[];
    http2Server.removeAllListeners('stream');
    http2Server.on('stream', (stream, headers, flags) => {
      if (headers[':path'] === method.path && isPlain(headers)) answer(stream, headers);
      else library!(stream, headers, flags);
    });
  }
}

/** The parts of `ServerUnaryCall` that our methods use. */
class DirectCall<Request> {
  readonly #deadlineMs: number;

  constructor(
    readonly stream: ServerHttp2Stream,
    readonly headers: IncomingHttpHeaders,
    readonly request: Request,
  ) {
    const timeout = headers['grpc-timeout'];
    this.#deadlineMs =
      timeout === undefined ? Number.POSITIVE_INFINITY : deadlineIn(timeoutMs(timeout));
  }

  get metadata() {
    return { get: (name: string) => [this.headers[name] ?? []].flat() };
  }

  get cancelled(): boolean {
    return isClosed(this.stream);
  }

  getDeadline(): number {
    return this.#deadlineMs;
  }

  getAuthContext() {
    const socket = this.stream.session?.socket;
    if (!(socket instanceof TLSSocket) || !socket.authorized) return {};
    return { transportSecurityType: 'ssl', sslPeerCertificate: socket.getPeerCertificate() };
  }
}

function isPlain(headers: IncomingHttpHeaders): boolean {
  const timeout = headers['grpc-timeout'];
  return (
    headers[':method'] === 'POST' &&
    PLAIN_TYPES.includes(headers['content-type'] ?? '') &&
    (headers['grpc-encoding'] ?? 'identity') === 'identity' &&
    (timeout === undefined || (typeof timeout === 'string' && TIMEOUT.test(timeout)))
  );
}

function timeoutMs(timeout: string | string[]): number {
  const [, count, unit] = TIMEOUT.exec(String(timeout))!;
  return Number(count) * TIMEOUT_UNIT_MS[unit!]!;
}

/** Calls back once, with the message of the call, or with the status that rejects the call. */
function readMessage(
  stream: ServerHttp2Stream,
  bytesMax: number,
  memory: DirectOptions['memory'],
  callback: (message: Buffer | Partial<ServiceError>) => void,
): void {
  let parts: Buffer[] = [];
  let received = 0;
  let expected: number | undefined;
  let reserved = 0;
  const release = () => {
    memory.release(reserved);
    reserved = 0;
  };
  const finish = (result: Buffer | Partial<ServiceError>) => {
    if (reserved > 0) release();
    stream.removeListener('data', onData).removeListener('end', onEnd).resume();
    callback(result);
  };
  const onData = (part: Buffer) => {
    parts.push(part);
    received += part.length;
    if (expected === undefined && received >= PREFIX_BYTES) {
      parts = [joined(parts)];
      const length = parts[0]!.readUInt32BE(1);
      if (parts[0]![0] !== 0)
        return finish(malformed('the message is compressed, the call is not'));
      if (length > bytesMax) return finish(tooLarge(length, bytesMax));
      expected = PREFIX_BYTES + length;
      if (received < expected) {
        if (!memory.reserve(length)) return finish(overloaded());
        reserved = length;
        stream.once('close', release);
      }
    }
    if (received > (expected ?? received))
      finish(malformed('a unary call has one message', status.UNIMPLEMENTED));
  };
  const onEnd = () => {
    if (received === expected) finish(joined(parts).subarray(PREFIX_BYTES));
    else finish(malformed('the message is not complete', status.UNIMPLEMENTED));
  };
  stream.on('data', onData);
  stream.on('end', onEnd);
}

function joined(parts: readonly Buffer[]): Buffer {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

function decode<Request>(
  { requestDeserialize }: Pick<MethodDefinition<Request, unknown>, 'requestDeserialize'>,
  message: Buffer,
): Request | undefined {
  try {
    return requestDeserialize(message);
  } catch {
    return undefined;
  }
}

function sendResponse(stream: ServerHttp2Stream, message: Buffer): void {
  if (isClosed(stream)) return;
  const framed = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  message.copy(framed, PREFIX_BYTES);
  stream.once('wantTrailers', sendTrailers);
  stream.respond(RESPONSE_HEADERS, { waitForTrailers: true });
  stream.end(framed);
}

function sendTrailers(this: ServerHttp2Stream): void {
  this.sendTrailers(OK_TRAILERS);
}

function ignore(): void {}

/** A response without a message: its headers are the trailers, too. */
function sendError(
  stream: ServerHttp2Stream,
  { code = status.UNKNOWN, details = '', metadata }: Partial<ServiceError>,
): void {
  if (isClosed(stream)) return;
  const headers: OutgoingHttpHeaders = {
    ...RESPONSE_HEADERS,
    'grpc-status': code,
    'grpc-message': encodeURI(details),
    ...metadata?.toHttp2Headers(),
  };
  stream.respond(headers, { endStream: true });
}

function isClosed(stream: ServerHttp2Stream): boolean {
  return stream.closed || stream.destroyed;
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
