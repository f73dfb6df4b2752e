/**
 * The Push API over HTTP: finds the route of a request, and translates between JSON and `PushApi`.
 */
import { createServer, type Server } from 'node:net';
import type { BodySink } from '../../../common/http/http1/body-decoder.js';
import type { Exchange } from '../../../common/http/http1/exchange.js';
import { jsonResponse, rejectionResponse } from '../../../common/http/http1/response.js';
import { Http1Server } from '../../../common/http/http1/server.js';
import { parseBody } from '../../../common/http/parse-body.js';
import { type ErrorCode, type Rejection, rejection } from '../../../common/process/errors.js';
import type { MemoryWatch } from '../../../common/process/memory/memory-watch.js';
import type { Metrics } from '../../../common/process/metrics.js';
import { traceContextOf } from '../../../common/process/tracing/tracer.js';
import { lowerAscii, trimBlanks } from '../../../common/wire/http-lists.js';
import { parseStrictJson } from '../../../common/wire/strict-json.js';
import type { Scope } from '../backend-settings.js';
import type { Backend } from '../backends.js';
import type { BackendCall, PushApi } from '../operations.js';
import { stopping } from '../pusher.js';
import { JsonBody } from './json-body.js';
import { NO_ROUTE, PushHttpMetrics } from './metrics.js';
import { describePushApi } from './openapi.js';
import { type Route, routes, streamRoute } from './routes.js';
import { NDJSON_TYPE, openStream } from './stream.js';

export interface PushHttpConfig {
  /** 0: any free port. */
  readonly port: number;
  readonly connectionsMax: number;
  /** After which a response ends its connection; 0: no maximum. */
  readonly connectionAgeMsMax: number;
}

export interface PushHttpOptions {
  readonly api: PushApi;
  readonly config: PushHttpConfig;
  readonly payloadBytesMax: number;
  /** Bytes of payloads without a verdict, of one stream. */
  readonly streamBytesMax: number;
  /** Undefined: without TLS. */
  readonly tlsServer: Server | undefined;
  readonly memory: Pick<MemoryWatch, 'reserve' | 'release'>;
  readonly metrics: Metrics;
}

const OPENAPI_PATH = '/v1/openapi.json';
/** A payload in base64, or with some escapes, and the rest of a push. */
const PAYLOAD_FACTOR = 2;
const OVERHEAD_BYTES = 64 * 1024;
/** Room for the clientIds of PushMany. */
const CLIENT_IDS_BYTES = 4 * 1024 * 1024;

type EndCode = ErrorCode | 'OK' | 'CANCELLED';

export class PushHttp {
  readonly #server: Http1Server;
  readonly #metrics: PushHttpMetrics;
  readonly #routes = new Map(routes.map((route) => [route.path, route]));
  readonly #document = JSON.stringify(describePushApi());
  readonly #lineBytesMax: number;

  constructor(readonly options: PushHttpOptions) {
    const { config, tlsServer, metrics, payloadBytesMax } = options;
    this.#lineBytesMax = PAYLOAD_FACTOR * payloadBytesMax + OVERHEAD_BYTES;
    this.#metrics = new PushHttpMetrics(metrics, () => this.#server.connections);
    this.#server = new Http1Server(tlsServer ?? createServer(), {
      connectionsMax: config.connectionsMax,
      ageMsMax: config.connectionAgeMsMax,
      onRequest: (exchange) => this.#onRequest(exchange),
      onUnreadable: ({ code }) => this.#metrics.onUnreadable(code),
      onClosed: (reason) => this.#metrics.onClosed(reason),
    });
  }

  /** Resolves with the bound port. @throws EnvironmentError when it cannot listen */
  listen(host: string): Promise<number> {
    return this.#server.listen(host, this.options.config.port);
  }

  /** Requests that were read are answered, those that come later are rejected. */
  stop(graceMs: number): Promise<void> {
    return this.#server.stop(graceMs);
  }

  #onRequest(exchange: Exchange): BodySink | undefined {
    const { method, target } = exchange.head!;
    const path = this.#routes.has(target) ? target : pathOf(target);
    const route = this.#routes.get(path);
    const isStream = path === streamRoute.path;
    const isKnown = route !== undefined || isStream || path === OPENAPI_PATH;
    const call = new HttpCall(exchange, isKnown ? path : NO_ROUTE, this.#metrics);
    const allowed = path === OPENAPI_PATH ? ['GET', 'HEAD'] : ['POST'];
    if (!isKnown) {
      call.reject(rejection('NOT_FOUND', `no route for ${method} ${path}`));
    } else if (target.includes('?')) {
      call.reject(rejection('REQUEST_MALFORMED', 'this API has no query parameters'));
    } else if (!allowed.includes(method)) {
      const allow = allowed.join(', ');
      const message = `this path does not accept ${method}; use ${allow}`;
      call.reject(rejection('METHOD_NOT_ALLOWED', message), allow);
    } else if (route !== undefined) return this.#read(call, route);
    else if (isStream) return this.#openStream(call);
    else call.respond({ status: 200, body: this.#document }, 'OK');
    return undefined;
  }

  #read(call: HttpCall, route: Route): BodySink | undefined {
    const { api, memory, payloadBytesMax } = this.options;
    const operation = route.operation(api);
    const backend = this.#admit(call, 'application/json', operation.scope);
    if ('code' in backend) return void call.reject(backend);
    const bytesMax = PAYLOAD_FACTOR * payloadBytesMax + CLIENT_IDS_BYTES;
    const body = new JsonBody(
      bytesMax,
      memory,
      (bytes) => this.#run(call, route, backend, bytes),
      (rejected) => call.reject(rejected),
    );
    const rejected = body.rejectSize(
      Number(call.exchange.head!.headers.get('content-length') ?? 0),
    );
    if (rejected !== undefined) return void call.reject(rejected);
    call.exchange.onClose = () => {
      body.release();
      call.onClose();
    };
    return body;
  }

  #run(call: HttpCall, route: Route, backend: Backend, bytes: Buffer): void {
    const { api } = this.options;
    if (api.options.stopping.aborted) return call.reject(stopping());
    const json = parseStrictJson(bytes, 'payload');
    if ('code' in json) return call.reject(json);
    const body = parseBody(route.body, json.value);
    if ('code' in body) return call.reject(body);
    const request = route.toRequest(body.parsed, json.kept);
    if ('code' in (request as object)) return call.reject(request as Rejection);
    const { deadlineMs } = body.parsed as { readonly deadlineMs?: number };
    if (deadlineMs !== undefined) call.answerByMs = call.startedMs + deadlineMs;
    api.run(route.operation(api), request, call, backend, (response) => {
      if ('code' in response) call.reject(response as Rejection);
      else call.respond(jsonResponse(route.fromResponse?.(response) ?? response), 'OK');
    });
  }

  #openStream(call: HttpCall): BodySink | undefined {
    const backend = this.#admit(call, NDJSON_TYPE, 'push');
    if ('code' in backend) return void call.reject(backend);
    if (call.exchange.head!.minorVersion === 0) {
      const message = 'a stream needs HTTP/1.1';
      return void call.reject(rejection('HTTP_VERSION_UNSUPPORTED', message));
    }
    const limits = { lineBytesMax: this.#lineBytesMax, bytesMax: this.options.streamBytesMax };
    return openStream(call.exchange, call, backend, this.options.api, limits, (reason) =>
      call.onStreamEnd(reason),
    );
  }

  /** Rejects what can be rejected before the body is read. */
  #admit(call: HttpCall, type: string, scope: Scope): Backend | Rejection {
    const { api } = this.options;
    if (api.options.stopping.aborted) return stopping();
    const { headers } = call.exchange.head!;
    if (mediaTypeOf(headers.get('content-type')) !== type) {
      return rejection('REQUEST_MALFORMED', `content-type must be ${type}`);
    }
    if (headers.has('content-encoding')) {
      return rejection('REQUEST_MALFORMED', 'content-encoding is not supported; send plain JSON');
    }
    return api.authorize(call, scope);
  }
}

class HttpCall implements BackendCall {
  readonly startedMs = performance.now();
  answerByMs = Number.POSITIVE_INFINITY;
  #hasEnded = false;

  constructor(
    readonly exchange: Exchange,
    readonly route: string,
    readonly metrics: PushHttpMetrics,
  ) {
    metrics.onBegin();
    exchange.onClose = () => this.onClose();
  }

  get authorization() {
    return this.exchange.head!.headers.get('authorization');
  }

  get certificate() {
    return this.exchange.carrier.certificate;
  }

  get traceContext() {
    const { headers } = this.exchange.head!;
    return traceContextOf((name) => headers.get(name) ?? '');
  }

  get isCancelled() {
    return this.exchange.carrier.isClosed;
  }

  respond(response: Parameters<Exchange['respond']>[0], code: EndCode): void {
    this.#end(code);
    this.metrics.observe((performance.now() - this.startedMs) / 1_000);
    this.exchange.respond(response);
  }

  /** @param allow methods of the path, for METHOD_NOT_ALLOWED */
  reject(rejected: Rejection, allow?: string): void {
    this.respond(rejectionResponse(rejected, allow), rejected.code);
  }

  onStreamEnd(reason: Rejection | undefined): void {
    this.#end(this.isCancelled ? 'CANCELLED' : (reason?.code ?? 'OK'));
  }

  onClose(): void {
    this.#end('CANCELLED');
  }

  #end(code: EndCode): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.metrics.onEnd(this.route, code);
  }
}

/** Path of a target; some clients encode the colon of a path. */
function pathOf(target: string): string {
  const [path = ''] = target.split('?', 1);
  return path.replaceAll(/%3a/gi, ':');
}

function mediaTypeOf(contentType: string | undefined): string {
  return lowerAscii(trimBlanks(contentType?.split(';', 1)[0] ?? ''));
}
