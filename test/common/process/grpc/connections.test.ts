/**
 * A gRPC server ends connections that are too old or whose peer is gone, without a failed call, and
 * bounds connections, calls and pings. Method: a server whose one method answers after 20 ms,
 * clients of two implementations, raw HTTP/2 and TCP, and a proxy that goes silent.
 */
import { execFile } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  type ChannelOptions,
  Client,
  credentials,
  experimental,
  type handleUnaryCall,
  type MethodDefinition,
  type Server,
  type ServerUnaryCall,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  type ConnectionsConfig,
  GrpcConnections,
} from '../../../../common/process/grpc/connections.js';
import { DirectCalls } from '../../../../common/process/grpc/direct-calls.js';
import {
  bindGrpc,
  createGrpcServer,
  type GrpcServer,
  stopGrpc,
} from '../../../../common/process/grpc/grpc-server.js';
import { Metrics } from '../../../../common/process/metrics.js';
import { packageRoot } from '../../../../common/process/package-root.js';
import { TcpProxy } from '../../../support/cluster/tcp-proxy.js';
import { PYTHON_GRPC, PYTHON_PATH, testWith } from '../../../support/devices/system-clients.js';
import { eventually } from '../../../support/eventually.js';

/** The prefix that GrpcConnections bounds; health checks have another one. */
const METHOD = '/longline.test.Service/Call';
const SERVICE = 'longline.test.Service';
const ANSWER_MS = 20;
const same = (bytes: Buffer) => bytes;
const method: MethodDefinition<Buffer, Buffer> = {
  path: METHOD,
  requestStream: false,
  responseStream: false,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
};

/** Whether the library has only the calls that are not answered directly. */
let isDirect = false;

const defaults: ConnectionsConfig = {
  keepaliveMs: 60_000,
  keepaliveTimeoutMs: 60_000,
  ageMsMax: 0,
  ageGraceMs: 60_000,
  connectionsMax: 100,
  callsPerConnectionMax: 100,
  callsMax: 100,
  requestMsMax: 60_000,
};

class TestServer {
  readonly metrics = new Metrics();
  readonly connections: GrpcConnections;
  readonly #grpc: GrpcServer;
  readonly #clients: Client[] = [];
  address = '';
  /** Calls that wait until they are cancelled, if set; else calls are answered. */
  isHolding = false;
  readonly #calls: ServerUnaryCall<Buffer, Buffer>[] = [];
  readonly #direct: DirectCalls;

  constructor(config: Partial<ConnectionsConfig>) {
    this.connections = new GrpcConnections({ ...defaults, ...config }, this.metrics, 'router');
    this.#grpc = createGrpcServer([SERVICE], {
      ...this.connections.options,
      interceptors: this.connections.interceptors,
    });
    const answer: handleUnaryCall<Buffer, Buffer> = (call, done) => {
      this.#calls.push(call);
      if (!this.isHolding) setTimeout(() => done(null, call.request), ANSWER_MS);
    };
    this.#grpc.server.addService({ call: method }, { call: answer });
    this.#direct = new DirectCalls({
      requestBytesMax: 1_000,
      callsPerConnectionMax: this.connections.config.callsPerConnectionMax,
      onCall: this.connections.onCall,
      awaited: this.connections.awaited,
      onConnection: this.connections.open,
      memory: { reserve: () => true, release: () => {} },
    });
    this.#direct.add(method, answer);
  }

  get called(): number {
    return this.#calls.length;
  }

  get cancelled(): number {
    return this.#calls.filter(({ cancelled }) => cancelled).length;
  }

  async listen(host = '127.0.0.1', wantedPort = 0): Promise<number> {
    const port = await bindGrpc(this.#grpc.server, host, wantedPort);
    this.connections.attach(this.#grpc.server);
    if (isDirect) this.#direct.attach(this.#grpc.server);
    this.address = `${host}:${port}`;
    return port;
  }

  client(address = this.address, options: ChannelOptions = {}): Client {
    const own = { 'grpc.use_local_subchannel_pool': 1, ...options };
    const client = new Client(address, credentials.createInsecure(), own);
    this.#clients.push(client);
    return client;
  }

  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const metric = await this.metrics.registry
      .getSingleMetric(`longline_router_grpc_${name}`)!
      .get();
    const value = metric.values.find(({ labels: own }) =>
      Object.entries(labels).every(([label, text]) => own[label as never] === text),
    );
    return value?.value ?? 0;
  }

  stop(graceMs: number): Promise<void> {
    const reason = { code: status.UNAVAILABLE, details: 'the server stops' };
    return stopGrpc(this.#grpc, reason, graceMs, { direct: this.#direct });
  }

  close(): void {
    for (const client of this.#clients) client.close();
    this.#grpc.server.forceShutdown();
    this.#direct.destroy();
  }
}

let server: TestServer;
let proxy: TcpProxy | undefined;
afterEach(() => {
  proxy?.close();
  proxy = undefined;
  server.close();
});

async function start(config: Partial<ConnectionsConfig>): Promise<number> {
  server = new TestServer(config);
  return server.listen();
}

/** Resolves with the error of a call, or with undefined. */
function callOnce(
  client: Client,
  path = METHOD,
  deadlineMs = 10_000,
): Promise<ServiceError | undefined> {
  return new Promise((resolve) => {
    const deadline = { deadline: Date.now() + deadlineMs };
    client.makeUnaryRequest(path, same, same, Buffer.alloc(0), deadline, (error) => {
      resolve(error ?? undefined);
    });
  });
}

const closed = (reason: string) => server.metric('connections_closed_total', { reason });

describe.each([
  ['the library', false],
  ['direct calls', true],
])('%s', (_server, direct) => {
  beforeAll(() => {
    isDirect = direct;
  });
  test('calls of grpc-js go on through several ages of their connection', async () => {
    // Longer than any call takes on a busy machine: a client repeats a rejected call once.
    await start({ ageMsMax: 2_000 });
    const client = server.client();
    const errors: ServiceError[] = [];
    let calls = 0;
    const run = async () => {
      while ((await closed('age')) < 2) {
        const error = await callOnce(client);
        if (error) errors.push(error);
        calls++;
      }
    };
    await Promise.all(Array.from({ length: 10 }, run));
    expect(errors).toEqual([]);
    expect(calls).toBeGreaterThan(20);
    // Connections close when their calls are answered.
    await eventually(async () => (await server.metric('connections')) === 1);
  });

  testWith(PYTHON_GRPC)(
    'calls of grpcio go on through several ages of their connection',
    async () => {
      // As above.
      await start({ ageMsMax: 2_000 });
      const script = join(packageRoot, 'test/common/process/grpc/load.py');
      const { stdout } = await promisify(execFile)(PYTHON_PATH, [
        script,
        server.address,
        METHOD,
        '8',
        '10',
      ]);
      expect(Object.keys(JSON.parse(stdout))).toEqual(['OK']);
      expect(await closed('age')).toBeGreaterThan(1);
    },
  );

  let addresses: readonly string[] = [];

  /** Answers with `addresses`, as a headless service does. */
  class Names implements experimental.Resolver {
    readonly #port: number;

    constructor(
      { path }: { readonly path: string },
      readonly listener: experimental.ResolverListener,
    ) {
      this.#port = Number(path);
    }

    static getDefaultAuthority(): string {
      return 'routers';
    }

    updateResolution(): void {
      const endpoints = addresses.map((host) => ({ addresses: [{ host, port: this.#port }] }));
      setImmediate(() => this.listener(experimental.statusOrFromValue(endpoints), {}, null, ''));
    }

    destroy(): void {}
  }

  test('a client with round_robin finds a server that was added', async () => {
    server = new TestServer({ ageMsMax: 300 });
    const port = await server.listen('127.0.0.2');
    const second = new TestServer({});
    await second.listen('127.0.0.3', port);
    addresses = ['127.0.0.2'];
    experimental.registerResolver('names', Names);
    const client = server.client(`names:${port}`, {
      'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
    });
    try {
      expect(await callOnce(client)).toBeUndefined();
      addresses = ['127.0.0.2', '127.0.0.3'];
      await eventually(async () => {
        expect(await callOnce(client)).toBeUndefined();
        return second.called > 5;
      });
      expect(server.called).toBeGreaterThan(0);
    } finally {
      second.close();
    }
  });

  test('a call that is open when its connection becomes too old completes', async () => {
    await start({ ageMsMax: 100, ageGraceMs: 300 });
    server.isHolding = true;
    const client = server.client();
    const calling = callOnce(client);
    await eventually(async () => (await closed('age')) === 1);
    server.isHolding = false;
    // A call on another connection, which is younger.
    expect(await callOnce(client)).toBeUndefined();
    // The first one outlasts the grace.
    expect((await calling)?.code).toBe(status.UNAVAILABLE);
    expect(await closed('grace')).toBe(1);
  });

  test.each([
    ['', 0],
    ['that became too old', 50],
  ])('a peer that goes silent is gone within interval and timeout %s', async (_, ageMsMax) => {
    // The timeout is longer than a busy machine suspends this process, which is client and server.
    const port = await start({ keepaliveMs: 200, keepaliveTimeoutMs: 2_000, ageMsMax });
    proxy = await TcpProxy.start(port);
    server.isHolding = true;
    const client = server.client(`127.0.0.1:${proxy.port}`);
    const calling = callOnce(client, METHOD, 60_000);
    await eventually(async () => (await server.metric('calls')) === 1);
    if (ageMsMax > 0) await eventually(async () => (await closed('age')) === 1);
    // It answers pings.
    await sleep(2_500);
    expect(await server.metric('calls')).toBe(1);
    proxy.partition();
    await eventually(async () => (await closed('silent')) >= 1);
    await eventually(async () => (await server.metric('connections')) === 0);
    await eventually(() => server.cancelled === 1);
    expect(await server.metric('calls')).toBe(0);
    proxy.close();
    expect(await calling).toBeDefined();
  });

  test('connections over the bound are rejected and counted', async () => {
    const port = await start({ connectionsMax: 2 });
    const held = [server.client(), server.client()];
    for (const client of held) expect(await callOnce(client)).toBeUndefined();
    const third = connectTcp(port, '127.0.0.1');
    third.on('error', () => {});
    await once(third, 'close');
    expect(await server.metric('rejected_total', { bound: 'connections' })).toBe(1);
    expect(await server.metric('connections')).toBe(2);
    held[0]!.close();
    await eventually(async () => (await server.metric('connections')) === 1);
    expect(await callOnce(server.client())).toBeUndefined();
  });

  test('a connection that closes late does not end the entry of a newer one from the same port', async () => {
    await start({});
    const http2Server = new EventEmitter();
    server.connections.attach({ http2Servers: new Map([[http2Server, 0]]) } as unknown as Server);
    const connect = () => {
      const socket = Object.assign(new EventEmitter(), { remoteAddress: '::1', remotePort: 5_000 });
      http2Server.emit('connection', socket);
      return socket;
    };
    const older = connect();
    const newer = connect();
    older.emit('close');
    expect(await server.metric('connections')).toBe(1);
    newer.emit('close');
    expect(await server.metric('connections')).toBe(0);
  });

  test('calls over the bound are rejected and counted, health checks are not', async () => {
    await start({ callsMax: 1 });
    server.isHolding = true;
    const holding = server.client();
    const calling = callOnce(holding, METHOD, 2_000);
    await eventually(async () => (await server.metric('calls')) === 1);
    const other = server.client();
    const rejected = await callOnce(other);
    expect(rejected?.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(rejected?.details).toMatch(/^OVERLOADED: /);
    expect(rejected?.metadata.get('longline-code')).toEqual(['OVERLOADED']);
    expect(await callOnce(other, '/grpc.health.v1.Health/Check')).toBeUndefined();
    expect(await server.metric('rejected_total', { bound: 'calls' })).toBe(1);
    expect((await calling)?.code).toBe(status.DEADLINE_EXCEEDED);
    server.isHolding = false;
    expect(await callOnce(other)).toBeUndefined();
  });

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['a part of its message', Buffer.of(0, 0, 0, 0, 9, 1)],
  ])('a call that sends %s ends after some time, and gives its place back', async (_, part) => {
    await start({ callsMax: 1, callsPerConnectionMax: 1, requestMsMax: 200 });
    const session = connectHttp2(`http://${server.address}`);
    session.on('error', () => {});
    await once(session, 'remoteSettings');
    const open = async () => {
      const head = { ':path': METHOD, ':method': 'POST', 'content-type': 'application/grpc' };
      const stream = session.request({ ...head, te: 'trailers' }, { endStream: false });
      if (part.length > 0) stream.write(part);
      stream.resume();
      const [headers] = await once(stream, 'response');
      await once(stream, 'close');
      return headers;
    };
    for (let i = 1; i <= 2; i++) {
      const headers = await open();
      expect(headers['grpc-status']).toBe(`${status.DEADLINE_EXCEEDED}`);
      expect(headers['longline-code']).toBe('REQUEST_TIMEOUT');
      expect(await server.metric('rejected_total', { bound: 'request-time' })).toBe(i);
      await eventually(async () => (await server.metric('calls')) === 0);
    }
    session.destroy();
    expect(server.called).toBe(0);
  });

  test('a client opens no more calls on a connection than it may, and the others wait', async () => {
    await start({ callsPerConnectionMax: 2 });
    const client = server.client();
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => callOnce(client)));
    expect(outcomes.filter((error) => error !== undefined)).toEqual([]);
  });

  /** Pings until the connection ends, or `count` times. */
  async function pingAll(session: ClientHttp2Session, count: number): Promise<void> {
    for (let i = 0; i < count && !session.destroyed; i++) {
      await new Promise<void>((resolve) => {
        if (!session.ping(() => resolve())) resolve();
      });
    }
  }

  test('a client that only pings is disconnected, with the reason', async () => {
    await start({});
    const session = connectHttp2(`http://${server.address}`);
    session.on('error', () => {});
    await once(session, 'connect');
    const goaway = once(session, 'goaway');
    await pingAll(session, 1_000);
    const [code, , data] = await goaway;
    expect(code).toBe(11);
    expect(String(data)).toBe('too_many_pings');
    await eventually(async () => (await closed('pings')) === 1);
    session.destroy();
  });

  test('pings of a client that receives messages are not counted', async () => {
    await start({});
    const session = connectHttp2(`http://${server.address}`);
    session.on('error', () => {});
    await once(session, 'connect');
    for (let i = 0; i < 150; i++) {
      // Any answer is bytes of the server; this one is a status.
      const stream = session.request({ ':path': '/', ':method': 'POST' });
      stream.resume();
      await once(stream, 'end');
      await pingAll(session, 1);
    }
    expect(session.destroyed).toBe(false);
    expect(await closed('pings')).toBe(0);
    session.destroy();
  });
});

test('a direct call that outlasts the stop of its server ends with the reason', async () => {
  isDirect = true;
  await start({});
  server.isHolding = true;
  const calling = callOnce(server.client());
  await eventually(() => server.called === 1);
  await server.stop(50);
  const error = await calling;
  expect(error?.code).toBe(status.UNAVAILABLE);
  expect(error?.details).toBe('the server stops');
});
