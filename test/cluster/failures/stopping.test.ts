/**
 * Goal: nothing that a client holds open keeps a process from stopping in time with status 0, and
 * each client learns what became of its call.
 * Method: real processes with one of everything open, then SIGTERM.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import {
  Client,
  type ClientReadableStream,
  credentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { afterEach, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { freePort } from '../../../cli/local/ports.js';
import { packageRoot } from '../../../common/process/package-root.js';
import {
  AssignmentServiceClient,
  WatchRequest,
} from '../../../proto/gen/longline/v1/assignment.js';
import { EdgeSessionServiceClient, Hello } from '../../../proto/gen/longline/v1/edge_session.js';
import { OperatorServiceClient } from '../../../proto/gen/longline/v1/operator.js';
import {
  BroadcastRequest,
  type BroadcastResponse,
  type PushManyResponse,
  type PushResponse,
  PushServiceClient,
  Verdict,
  WaitFor,
} from '../../../proto/gen/longline/v1/push.js';
import { pushRequest } from '../../support/cluster/push-client.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { type Role, startRole } from '../../support/cluster/role.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

/** Below the 10 s after which a process gives up and exits with 1. */
const STOP_MS_MAX = 9_000;

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function startTestRedis(): Promise<TestRedis> {
  const redis = await startRedis();
  closing.push(() => redis.stop());
  return redis;
}

async function start(role: string, env: NodeJS.ProcessEnv): Promise<Role> {
  const process = await startRole(role, env);
  closing.push(() => process.stop());
  return process;
}

const startControl = (redis: TestRedis) =>
  start('control', {
    LONGLINE_REDIS_URL: redis.url,
    LONGLINE_CONTROL_HTTP_PORT: '0',
    LONGLINE_CONTROL_GRPC_PORT: '0',
  });

const startRouter = (redis: TestRedis, control: string) =>
  start('router', {
    LONGLINE_REDIS_URL: redis.url,
    LONGLINE_CONTROL_ADDRESS: control,
    LONGLINE_ROUTER_HTTP_PORT: '0',
    LONGLINE_ROUTER_GRPC_PORT: '0',
  });

const startEdge = (redis: TestRedis, control: string) =>
  start('edge', {
    LONGLINE_REDIS_URL: redis.url,
    LONGLINE_CONTROL_ADDRESS: control,
    LONGLINE_EDGE_ID: 'edge-1',
    LONGLINE_EDGE_PORT: '0',
    LONGLINE_EDGE_ADMIN_PORT: '0',
  });

/** A gRPC client without a schema: messages are bytes. */
function bytesClient(port: number): Client {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  closing.push(() => client.close());
  return client;
}

const same = (bytes: Buffer) => bytes;

/** The messages of a stream, and the status with which it ended. */
class Watched<Message> {
  readonly messages: Message[] = [];
  end: { code: status; details: string } | undefined;

  constructor(stream: ClientReadableStream<Message>) {
    stream.on('data', (message: Message) => this.messages.push(message));
    stream.on('error', () => {});
    stream.on('status', (end) => {
      this.end = end;
    });
  }
}

function watchHealth(port: number): Watched<Buffer> {
  const path = '/grpc.health.v1.Health/Watch';
  return new Watched(bytesClient(port).makeServerStreamRequest(path, same, same, Buffer.alloc(0)));
}

function reflect(port: number): Watched<Buffer> {
  const path = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
  const stream = bytesClient(port).makeBidiStreamRequest(path, same, same);
  // ServerReflectionRequest.list_services = ""
  stream.write(Buffer.from('3a00', 'hex'));
  return new Watched(stream);
}

const SERVING = Buffer.from('0801', 'hex');
const NOT_SERVING = Buffer.from('0802', 'hex');

function openSocket(port: number, bytes = ''): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(bytes);
  closing.push(() => socket.destroy());
  return socket;
}

/** HTTP connections that a server must not wait for. */
async function holdHttp(port: number): Promise<void> {
  openSocket(port);
  openSocket(port, 'GET /healthz HTTP/1.1\r\nHost: x\r\n');
  const idle = openSocket(port, 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(idle, 'data');
}

async function stopsInTime(role: Role): Promise<void> {
  const startedMs = performance.now();
  role.signal('SIGTERM');
  expect(await role.exited).toBe(0);
  expect(performance.now() - startedMs).toBeLessThan(STOP_MS_MAX);
}

const UNAVAILABLE = { code: status.UNAVAILABLE, details: expect.stringMatching(/shutting down/) };

test('a router answers what it has accepted and ends the rest', async () => {
  const redis = await startTestRedis();
  const admin = new Redis(redis.url);
  closing.push(() => admin.disconnect());
  const router = await startRouter(redis, `127.0.0.1:${await freePort()}`);
  const { grpc, http } = router.ports as { grpc: number; http: number };
  const backend = new PushServiceClient(`127.0.0.1:${grpc}`, credentials.createInsecure());
  closing.push(() => backend.close());
  const health = watchHealth(grpc);
  const reflection = reflect(grpc);
  const stream = backend.pushStream();
  const pushStream = new Watched(stream);
  stream.write({
    items: [{ correlationId: '1', push: pushRequest('dave', 'x', { waitMs: 60_000 }) }],
  });
  const waits = { waitMs: 60_000, waitFor: WaitFor.WAIT_FOR_ACKED };
  const acked = new Promise<PushResponse | ServiceError>((resolve) =>
    backend.push(pushRequest('alice', 'hello', waits), (error, response) =>
      resolve(error ?? response),
    ),
  );
  const { clientId: _, ...many } = pushRequest('', 'hello', waits);
  const clientIds = Array.from({ length: 100 }, (_each, i) => `client-${i}`);
  const pushedMany = new Promise<PushManyResponse | ServiceError>((resolve) =>
    backend.pushMany({ ...many, clientIds }, (error, response) => resolve(error ?? response)),
  );
  const sent = BroadcastRequest.fromPartial({ payload: Buffer.from('all'), clientsPerSecond: 1 });
  const broadcasted = new Promise<BroadcastResponse | ServiceError>((resolve) =>
    backend.broadcast(sent, (error, response) => resolve(error ?? response)),
  );
  await holdHttp(http);
  openSocket(grpc);
  await eventually(() => expect(health.messages).toEqual([SERVING]));
  await eventually(() => expect(reflection.messages).toHaveLength(1));
  const inFlight = /^longline_router_shard_queries_in_flight (\d+)/m;
  await eventually(async () => {
    const { body } = await httpRequest(`http://127.0.0.1:${http}/metrics`);
    expect(Number(inFlight.exec(body)![1])).toBeGreaterThan(102);
    expect(await admin.keys('ll:*:in:*')).toHaveLength(102);
  });

  const stopped = stopsInTime(router);
  router.signal('SIGTERM');
  await eventually(() => expect(health.end).toMatchObject(UNAVAILABLE));
  expect(health.messages).toEqual([SERVING, NOT_SERVING]);
  expect(reflection.end).toMatchObject(UNAVAILABLE);
  // While calls are in flight, probes learn that no further ones are accepted.
  const ready = await httpRequest(`http://127.0.0.1:${http}/readyz`);
  expect([ready.status, ready.body]).toEqual([503, expect.stringMatching(/shutting down/)]);
  const late = await new Promise<ServiceError | null>((resolve) =>
    backend.push(pushRequest('late', 'x', {}), (error) => resolve(error)),
  );
  expect(late).toMatchObject({ code: status.UNAVAILABLE });
  await stopped;
  expect(await acked).toMatchObject({ verdict: Verdict.VERDICT_STORED });
  expect(await pushedMany).toMatchObject({
    counts: [{ verdict: Verdict.VERDICT_STORED, count: 100 }],
    failed: 0,
  });
  expect(await broadcasted).toMatchObject({ shardsNotSent: expect.any(Number) });
  expect(pushStream.messages).toMatchObject([
    { results: [{ outcome: { $case: 'push', value: { verdict: Verdict.VERDICT_STORED } } }] },
  ]);
  await eventually(() => expect(pushStream.end).toMatchObject(UNAVAILABLE));
});

test('a router does not wait for callers that do not read', async () => {
  const redis = await startTestRedis();
  const router = await startRouter(redis, `127.0.0.1:${await freePort()}`);
  const { grpc, http } = router.ports as { grpc: number; http: number };
  const backend = new PushServiceClient(`127.0.0.1:${grpc}`, credentials.createInsecure());
  closing.push(() => backend.close());
  const stream = backend.pushStream();
  stream.on('error', () => {});
  stream.pause();
  const push = pushRequest('', 'no client id', {});
  const items = Array.from({ length: 1_000 }, (_each, i) => ({ correlationId: `${i}`, push }));
  for (let frame = 0; frame < 20; frame++) stream.write({ items });
  const reader = openSocket(http, 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(200));
  reader.pause();
  const rejected = /^longline_router_requests_rejected_total\{.*\} (\d+)/m;
  await eventually(async () => {
    const { body } = await httpRequest(`http://127.0.0.1:${http}/metrics`);
    expect(Number(rejected.exec(body)?.[1])).toBeGreaterThan(1_000);
  });
  await stopsInTime(router);
});

test('a control ends sessions, watches and event streams with a reason to retry', async () => {
  const redis = await startTestRedis();
  const control = await startControl(redis);
  const { grpc, http } = control.ports as { grpc: number; http: number };
  const address = `127.0.0.1:${grpc}`;
  const insecure = credentials.createInsecure();
  await eventually(async () => {
    expect((await httpRequest(`http://127.0.0.1:${http}/readyz`)).status).toBe(200);
  });
  const health = watchHealth(grpc);
  const reflection = reflect(grpc);
  const assignments = new AssignmentServiceClient(address, insecure);
  const operator = new OperatorServiceClient(address, insecure);
  const edges = new EdgeSessionServiceClient(address, insecure);
  for (const client of [assignments, operator, edges]) closing.push(() => client.close());
  const watch = new Watched(assignments.watch(WatchRequest.fromPartial({})));
  const events = new Watched(operator.watchEvents({ after: '0' }));
  const hello = Hello.fromPartial({
    edgeId: 'edge-1',
    incarnation: 'i1',
    advertisedUrl: 'http://edge-1:7000',
    capacity: 100,
    shardCount: 4_096,
  });
  const session = edges.session();
  session.write({ body: { $case: 'hello', value: hello } });
  const edge = new Watched(session);
  const call = request({
    port: http,
    path: '/v1/events',
    headers: { accept: 'text/event-stream' },
  });
  call.end();
  const [page] = await once(call, 'response');
  page.resume();
  const pageEnded = once(page, 'end');
  const unread = request({
    port: http,
    path: '/v1/events',
    headers: { accept: 'text/event-stream' },
  });
  unread.on('error', () => {});
  unread.end();
  await once(unread, 'response');
  await holdHttp(http);
  await eventually(() => expect(health.messages).toEqual([SERVING]));
  await eventually(() => expect(reflection.messages).toHaveLength(1));
  await eventually(() => expect(edge.messages.length).toBeGreaterThan(0));

  await stopsInTime(control);
  for (const { end } of [health, reflection, watch, events, edge]) {
    expect(end).toMatchObject({ code: status.UNAVAILABLE });
  }
  expect(health.messages.at(-1)).toEqual(NOT_SERVING);
  await pageEnded;
});

test('every role stops while Redis does not answer', async () => {
  const redis = await startTestRedis();
  const control = await startControl(redis);
  const address = `127.0.0.1:${control.ports.grpc}`;
  const router = await startRouter(redis, address);
  const edge = await startEdge(redis, address);
  await eventually(async () => {
    expect((await httpRequest(`http://127.0.0.1:${router.ports.http}/readyz`)).status).toBe(200);
    expect((await httpRequest(`http://127.0.0.1:${edge.ports.admin}/readyz`)).status).toBe(200);
  });
  await holdHttp(edge.ports.admin!);
  await redis.kill('SIGSTOP');
  // The first one starts the drain of an edge, which needs control and a Redis; the second ends it.
  edge.signal('SIGTERM');
  await Promise.all([control, router, edge].map(stopsInTime));
});

test.each(['control', 'router', 'edge'])('a %s that waits for Redis stops', async (role) => {
  const port = await freePort();
  const child = fork(join(packageRoot, 'dist', role, 'main.js'), [], {
    env: {
      PATH: process.env.PATH,
      LONGLINE_AUTH: 'none',
      LONGLINE_REDIS_URL: `redis://127.0.0.1:${await freePort()}`,
      LONGLINE_CONTROL_ADDRESS: '127.0.0.1:1',
      LONGLINE_EDGE_ID: 'edge-1',
      LONGLINE_CONTROL_HTTP_PORT: `${port}`,
      LONGLINE_ROUTER_HTTP_PORT: `${port}`,
      LONGLINE_EDGE_ADMIN_PORT: `${port}`,
    },
    stdio: 'ignore',
  });
  closing.push(() => child.kill('SIGKILL'));
  await eventually(async () => {
    const { body } = await httpRequest(`http://127.0.0.1:${port}/readyz`);
    expect(body).toMatch(/waiting for Redis/);
  });
  await holdHttp(port);
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  expect((await exited)[0]).toBe(0);
});
