/**
 * `grpc.testing.TestService`, which the clients of gRPC's interoperability tests call, on the
 * servers of this project.
 */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type handleUnaryCall,
  loadPackageDefinition,
  Metadata,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerWritableStream,
  type ServiceClientConstructor,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { GrpcConnections } from '../../../common/process/grpc/connections.js';
import { DirectCalls, withClient } from '../../../common/process/grpc/direct-calls.js';
import {
  bindGrpc,
  createGrpcServer,
  http2ServersOf,
} from '../../../common/process/grpc/grpc-server.js';
import { Http2Connection } from '../../../common/process/http2/connection.js';
import { Metrics } from '../../../common/process/metrics.js';
import { packageRoot } from '../../../common/process/package-root.js';

/**
 * `library`: grpc-js alone. `direct`: as in a router, with the unary methods answered past the
 * library. `within`: every call gets to the library over our own HTTP/2.
 */
export type TestServiceWay = 'library' | 'direct' | 'within';

interface Payload {
  readonly body: Buffer;
}

interface SimpleRequest {
  readonly responseSize: number;
  readonly responseStatus: { readonly code: number; readonly message: string } | null;
}

interface OutputRequest extends Pick<SimpleRequest, 'responseStatus'> {
  readonly responseParameters: readonly { readonly size: number; readonly intervalUs: number }[];
}

type OutputCall = ServerWritableStream<OutputRequest, { payload: Payload }>;
type DuplexCall = ServerDuplexStream<OutputRequest, { payload: Payload }>;

const PROTO = join(packageRoot, 'test/support/grpc/test-service.proto');
const STREAMS_MAX = 1_000;
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const INITIAL = 'x-grpc-test-echo-initial';
const TRAILING = 'x-grpc-test-echo-trailing-bin';

const { grpc } = loadPackageDefinition(loadSync(PROTO, { defaults: true })) as unknown as {
  grpc: { testing: { TestService: ServiceClientConstructor } };
};
const { service } = grpc.testing.TestService;

/** Sends back what the custom_metadata test sends. Direct calls have no metadata of their own. */
function echoMetadata(call: Pick<OutputCall, 'metadata' | 'sendMetadata'>): Metadata {
  const [initial] = call.metadata.get(INITIAL);
  const [trailing] = call.metadata.get(TRAILING);
  const [head, trailers] = [new Metadata(), new Metadata()];
  if (initial !== undefined) {
    head.set(INITIAL, initial);
    call.sendMetadata(head);
  }
  if (trailing !== undefined) trailers.set(TRAILING, trailing);
  return trailers;
}

type Callback = (error: null, response: object) => void;

const payloadOf = (size: number) => ({ payload: { body: Buffer.alloc(size) } });

const unaryCall: handleUnaryCall<SimpleRequest, { payload: Payload }> = (call, callback) => {
  const { responseSize, responseStatus } = call.request;
  const trailers = echoMetadata(call);
  if (responseStatus?.code) {
    const { code, message: details } = responseStatus;
    return callback({ code, details, metadata: trailers });
  }
  callback(null, payloadOf(responseSize), trailers);
};

async function answer(
  call: OutputCall | DuplexCall,
  { responseParameters }: OutputRequest,
): Promise<void> {
  for (const { size, intervalUs } of responseParameters) {
    if (intervalUs > 0) await sleep(intervalUs / 1_000);
    if (call.cancelled) return;
    if (!call.write(payloadOf(size)))
      await Promise.race([once(call, 'drain'), once(call, 'close')]);
  }
}

const implementation: UntypedServiceImplementation = {
  EmptyCall: (_call: unknown, callback: Callback) => callback(null, {}),
  UnaryCall: unaryCall,
  async StreamingOutputCall(call: OutputCall) {
    await answer(call, call.request);
    call.end();
  },
  StreamingInputCall(call: ServerReadableStream<{ payload: Payload }, object>, callback: Callback) {
    let aggregatedPayloadSize = 0;
    call.on('data', ({ payload }) => {
      aggregatedPayloadSize += payload.body.length;
    });
    call.on('end', () => callback(null, { aggregatedPayloadSize }));
  },
  FullDuplexCall(call: DuplexCall) {
    const trailers = echoMetadata(call);
    let answered = Promise.resolve();
    call.on('data', (request: OutputRequest) => {
      answered = answered.then(() => {
        if (!request.responseStatus?.code) return answer(call, request);
        const { code, message: details } = request.responseStatus;
        call.emit('error', { code, details, metadata: trailers });
      });
    });
    call.on('end', () => void answered.then(() => call.end(trailers)));
    call.on('error', () => {}); // The client has cancelled it.
  },
};

export interface TestServer {
  readonly port: number;
  stop(): void;
}

export async function startTestService(way: TestServiceWay): Promise<TestServer> {
  const connections = new GrpcConnections(
    {
      keepaliveMs: 60_000,
      keepaliveTimeoutMs: 60_000,
      ageMsMax: 0,
      ageGraceMs: 60_000,
      connectionsMax: 1_000,
      callsPerConnectionMax: STREAMS_MAX,
      callsMax: 10_000,
      requestMsMax: 60_000,
    },
    new Metrics(),
    'router',
  );
  const { server } = createGrpcServer(['grpc.testing.TestService'], {
    ...connections.options,
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    interceptors: [withClient, ...connections.interceptors],
  });
  server.addService(service, implementation);
  const port = await bindGrpc(server, '127.0.0.1', 0);
  connections.attach(server);
  if (way === 'direct') {
    const direct = new DirectCalls({
      requestBytesMax: MESSAGE_BYTES_MAX,
      callsPerConnectionMax: STREAMS_MAX,
      onCall: connections.onCall,
      awaited: connections.awaited,
      onConnection: connections.open,
      memory: { reserve: () => true, release: () => {} },
    });
    direct.add(service.EmptyCall!, implementation.EmptyCall as handleUnaryCall<unknown, unknown>);
    direct.add(service.UnaryCall!, implementation.UnaryCall as handleUnaryCall<unknown, unknown>);
    direct.attach(server);
  }
  if (way !== 'within') return { port, stop: () => server.forceShutdown() };
  const [http2Server] = http2ServersOf(server);
  const within = createServer((socket) => {
    new Http2Connection(socket, {
      onRequest: () => false,
      onLibraryConnection: (end) => http2Server!.emit('connection', end),
      streamsMax: STREAMS_MAX,
    });
  });
  await new Promise<void>((resolve) => within.listen(0, '127.0.0.1', resolve));
  const stop = () => {
    within.close();
    server.forceShutdown();
  };
  return { port: (within.address() as { port: number }).port, stop };
}
