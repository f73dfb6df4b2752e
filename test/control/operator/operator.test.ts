import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { FastifyInstance } from 'fastify';
import { type Assignment, NO_OWNER } from '../../../common/cluster/assignment.js';
import { shardOf, shardTags } from '../../../common/cluster/shard.js';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import { listenHttp } from '../../../common/http/server.js';
import { buildInfo } from '../../../common/process/build-info.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import {
  bindGrpc,
  createGrpcServer,
  type GrpcServer,
} from '../../../common/process/grpc/grpc-server.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import type { EdgeRecord } from '../../../control/membership/edge-record.js';
import {
  clientResponse,
  clusterResponse,
  edgeResponse,
  edgesResponse,
  errorResponse,
  memoryResponse,
  shardsResponse,
} from '../../../control/operator/cluster-responses.js';
import { createOperatorService } from '../../../control/operator/grpc-service.js';
import { addOperatorRoutes } from '../../../control/operator/http/http-api.js';
import { OperatorQueries, type Snapshot } from '../../../control/operator/queries.js';
import {
  EdgeState,
  type GetClusterResponse,
  type GetEdgeMemoryResponse,
  type GetEdgeResponse,
  type ListEdgesResponse,
  type ListShardsResponse,
  type LocateClientResponse,
  OperatorServiceClient,
  OperatorServiceService,
} from '../../../proto/gen/longline/v1/operator.js';
import { httpServerOf } from '../../support/http-server.js';
import { apiOf, someInbox, sourcesOf } from './fake-operations.js';

const SHARDS = 4;
const identity = (id: string) => ({
  id,
  incarnation: `${id}-i1`,
  advertisedUrl: `http://${id}:7000`,
});
const assignment: Assignment = {
  position: { incarnation: 1, epoch: 7 },
  edges: [identity('edge-1'), identity('edge-2')].map((edge) => ({ ...edge, intent: 'none' })),
  owners: Uint16Array.of(0, 0, 1, NO_OWNER),
  moves: [],
  isBalancing: false,
};
const alive: EdgeRecord = {
  ...identity('edge-1'),
  state: { type: 'alive', session: 1, leaseEndsAtMs: 20_000 },
  capacity: 100,
  zone: 'a',
  build: { version: '0.2.0', commit: '' },
  counts: {
    connections: 5,
    guests: 1,
    shardsSubscribed: 3,
    ready: true,
    reasons: ['one master is down'],
    eventLoopLagMs: 1.5,
    gaps: 3,
    memory: [
      { name: 'table', bytes: 1_500, bytesAtStart: 1_000 },
      { name: 'of-a-newer-version', bytes: 7, bytesAtStart: 0 },
      { name: 'kernel/TCP', bytes: 100, bytesAtStart: 0 },
    ],
    shards: [
      { shard: 0, connections: 4, messagesPerSecond: 0.12345 },
      { shard: 2, connections: 1, messagesPerSecond: 1 },
    ],
  },
  heardAtMs: performance.now() - 10_000.25,
};
const suspect: EdgeRecord = {
  ...identity('edge-2'),
  state: { type: 'suspect', vanishedAtMs: 0, leaseEndsAtMs: 20_000 },
  capacity: undefined,
  zone: '',
  counts: undefined,
  heardAtMs: undefined,
};
const dead: EdgeRecord = {
  ...alive,
  ...identity('edge-9'),
  state: { type: 'dead', forgetAtMs: 1e6 },
  counts: undefined,
};

const presence = {
  clientId: 'alice',
  edgeId: 'edge-1',
  connectedAtMs: 1_700_000_000_000,
  connectedForMs: 5_000,
  protocol: 'sse',
  remoteAddress: '192.0.2.7:51324',
  labels: 'app=ios',
  guest: false,
};

const health = () => ({
  reasons: ['a reason'],
  redisMasters: [{ address: 'redis:6379', delivers: false }],
});

let snapshot: Snapshot;
let located: { connections: (typeof presence)[]; complete: boolean } | Rejection;
let queried: string[];
let http: FastifyInstance;
let httpPort: number;
let grpc: GrpcServer;
let client: OperatorServiceClient;

beforeEach(async () => {
  snapshot = { assignment, edges: [alive, suspect, dead], leader: 'control-1', health };
  located = { connections: [presence], complete: true };
  queried = [];
  const queries = new OperatorQueries(
    new ShardNames(new RedisNames(''), SHARDS),
    () => snapshot,
    sourcesOf(async (clientId) => {
      queried.push(clientId);
      return located;
    }),
  );
  http = httpServerOf();
  addOperatorRoutes(http, apiOf(queries));
  httpPort = await listenHttp(http, '127.0.0.1', 0);
  grpc = createGrpcServer([], {});
  grpc.server.addService(OperatorServiceService, createOperatorService(apiOf(queries)));
  const port = await bindGrpc(grpc.server, '127.0.0.1', 0);
  client = new OperatorServiceClient(`127.0.0.1:${port}`, credentials.createInsecure());
});
afterEach(async () => {
  client.close();
  grpc.server.forceShutdown();
  await http.close();
});

/** Sends the path unchanged, unlike fetch. */
async function send(method: string, path: string, payload = '') {
  const headers =
    payload === ''
      ? {}
      : { 'content-type': 'text/unknown', 'content-length': Buffer.byteLength(payload) };
  const sent = request({ port: httpPort, method, path, headers, agent: false });
  sent.end(payload);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const body = await text(response);
  return { status: response.statusCode, allow: response.headers.allow, body };
}

async function get(path: string) {
  const { status: code, body } = await send('GET', path);
  return { status: code, body: JSON.parse(body) };
}

test('/v1/cluster returns a summary', async () => {
  const { status: code, body } = await get('/v1/cluster');
  expect(code).toBe(200);
  expect(clusterResponse.strict().parse(body)).toEqual({
    position: { incarnation: 1, epoch: 7 },
    shardCount: 4,
    shardsUnowned: 1,
    edgesAlive: 1,
    connections: 5,
    guests: 1,
    shardsMaxOverMean: 1,
    leader: 'control-1',
    build: buildInfo,
    ...health(),
  });
});

test('before the first assignment no shard has an owner and no request fails', async () => {
  snapshot = { assignment: undefined, edges: [] };
  expect(clusterResponse.strict().parse((await get('/v1/cluster')).body)).toMatchObject({
    position: { incarnation: 0, epoch: 0 },
    shardsUnowned: 4,
    shardsMaxOverMean: 0,
  });
  expect(edgesResponse.strict().parse((await get('/v1/edges')).body)).toEqual({ edges: [] });
  const { shards } = shardsResponse.strict().parse((await get('/v1/shards')).body);
  expect(shards.map((shard) => shard.owner)).toEqual([null, null, null, null]);
  const { body } = await get('/v1/clients/alice');
  expect(clientResponse.strict().parse(body)).toMatchObject({ owner: null, ownerUrl: null });
});

test('/v1/edges distinguishes unknown from zero', async () => {
  const askedAtMs = Date.now();
  const { body } = await get('/v1/edges');
  const answeredAtMs = Date.now();
  const { edges } = edgesResponse.strict().parse(body);
  const { lastReportAtMs, lastReportAgeMs } = edges[0]!;
  expect(lastReportAgeMs).toBeGreaterThanOrEqual(10_000);
  // Both are rounded.
  expect(lastReportAtMs! + lastReportAgeMs!).toBeGreaterThanOrEqual(askedAtMs - 2);
  expect(lastReportAtMs! + lastReportAgeMs!).toBeLessThanOrEqual(answeredAtMs + 2);
  expect(edges).toEqual([
    {
      ...identity('edge-1'),
      state: 'alive',
      intent: 'none',
      capacity: 100,
      shardsOwned: 2,
      shardsSubscribed: 3,
      connections: 5,
      guests: 1,
      ready: true,
      reasons: ['one master is down'],
      zone: 'a',
      eventLoopLagMs: 1.5,
      memoryBytes: 1_507,
      gaps: 3,
      version: '0.2.0',
      commit: null,
      lastReportAtMs,
      lastReportAgeMs,
    },
    {
      ...identity('edge-2'),
      state: 'suspect',
      intent: 'none',
      capacity: null,
      shardsOwned: 1,
      shardsSubscribed: null,
      connections: null,
      guests: null,
      ready: null,
      reasons: [],
      zone: '',
      eventLoopLagMs: null,
      memoryBytes: null,
      gaps: null,
      version: null,
      commit: null,
      lastReportAtMs: null,
      lastReportAgeMs: null,
    },
    expect.objectContaining({ id: 'edge-9', state: 'dead', intent: null, connections: null }),
  ]);
});

test('/v1/edges/:id lists the shards of one edge', async () => {
  const { body } = await get('/v1/edges/edge-1');
  expect(edgeResponse.strict().parse(body)).toMatchObject({
    edge: { id: 'edge-1' },
    shards: [0, 1],
  });
});

test('/v1/edges/:id/memory returns the cost per connection and its meaning', async () => {
  const { body } = await get('/v1/edges/edge-1/memory?x');
  const answer = memoryResponse.strict().parse(body);
  expect(answer).toMatchObject({
    edgeId: 'edge-1',
    connections: 5,
    parts: [
      { name: 'table', bytes: 1_500, bytesPerConnection: 100 },
      { name: 'of-a-newer-version', bytes: 7, bytesPerConnection: 1.4 },
      { name: 'kernel/TCP', bytes: 100, bytesPerConnection: 20 },
    ],
  });
  expect(answer.parts[0]!.meaning).toMatch(/^arrays/);
  expect(answer.parts[1]!.meaning).toMatch(/^unknown to this control/);
  const response = await call<GetEdgeMemoryResponse>((callback) =>
    client.getEdgeMemory({ edgeId: 'edge-1' }, callback),
  );
  expect(response).toEqual(answer);
});

test('the memory of an edge that does not report, or is unknown, is rejected', async () => {
  expect((await get('/v1/edges/edge-2/memory')).status).toBe(503);
  expect((await get('/v1/edges/unknown/memory')).status).toBe(404);
  expect((await get('/v1/edges//memory')).status).toBe(404);
});

test.each(['unknown', '', '%2e', 'a/b'])('/v1/edges/%s is not found', async (id) => {
  const { status: code, body } = await get(`/v1/edges/${id}`);
  expect(code).toBe(404);
  expect(errorResponse.strict().parse(body).error.code).toBe('NOT_FOUND');
});

test('/v1/shards has tags, owners and the connections on all edges', async () => {
  const { body } = await get('/v1/shards');
  const tags = shardTags(SHARDS);
  const names = (shard: number) => ({ tag: tags[shard], channel: `ll:{${tags[shard]}}` });
  expect(shardsResponse.strict().parse(body).shards).toEqual([
    { shard: 0, ...names(0), owner: 'edge-1', connections: 4, ownedSince: null },
    { shard: 1, ...names(1), owner: 'edge-1', connections: 0, ownedSince: null },
    // One guest is known, but not the connections of the owner.
    { shard: 2, ...names(2), owner: 'edge-2', connections: null, ownedSince: null },
    { shard: 3, ...names(3), owner: null, connections: null, ownedSince: null },
  ]);
});

test('/v1/clients/:clientId returns the shard, the owner and the connections', async () => {
  const clientId = ['a', 'b', 'c', 'd', 'e', 'f'].find((id) => shardOf(id, SHARDS) === 2)!;
  const { body } = await get(`/v1/clients/${clientId}`);
  expect(clientResponse.strict().parse(body)).toEqual({
    clientId,
    shard: 2,
    tag: shardTags(SHARDS)[2],
    channel: `ll:{${shardTags(SHARDS)[2]}}`,
    owner: 'edge-2',
    ownerUrl: 'http://edge-2:7000',
    connections: [{ ...presence, guestReason: null }],
    inbox: {
      count: 2,
      bytes: 300,
      oldestId: someInbox.oldest!.id,
      oldestAgeMs: 1_500,
      oldestTtlMs: 60_000,
      newestId: someInbox.newestId,
      confirmedId: someInbox.confirmedId,
      goneId: null,
      ttlMs: 90_000,
    },
    complete: true,
    reconnects: [],
    move: null,
  });
});

test.each([
  'alice',
  'a/b//c',
  '{0}:x',
  '100%',
  '%41',
  'a+b c?d#e',
  '..',
  'Ω✓👍',
  'é'.repeat(128),
  '👍'.repeat(64),
  `a${'/'.repeat(254)}b`,
])('accepts the percent-encoded clientId %s', async (clientId) => {
  const encoded = encodeURIComponent(clientId).replaceAll('.', '%2E');
  const { status: code, body } = await get(`/v1/clients/${encoded}?verbose=1`);
  expect(code).toBe(200);
  expect(body.clientId).toBe(clientId);
  expect(queried).toEqual([clientId]);
});

test.each([
  ['empty', ''],
  ['of 257 bytes', 'x'.repeat(257)],
  ['of 5,000 bytes', 'x'.repeat(5_000)],
  ['with a control character', 'a%00b'],
])('rejects a clientId that is %s', async (_, encoded) => {
  const { status: code, body } = await get(`/v1/clients/${encoded}`);
  expect(code).toBe(400);
  expect(errorResponse.strict().parse(body).error.code).toBe('CLIENT_ID_INVALID');
  expect(queried).toEqual([]);
});

test.each(['%FF', '%C3', '%zz', '%'])('rejects a path that is not UTF-8: %s', async (encoded) => {
  const { status: code, body } = await get(`/v1/clients/${encoded}`);
  expect(code).toBe(400);
  expect(errorResponse.strict().parse(body).error.code).toBe('REQUEST_MALFORMED');
});

test('returns the reason when a client cannot be located', async () => {
  located = rejection('REDIS_UNAVAILABLE', 'no reply channel');
  const { status: code, body } = await get('/v1/clients/alice');
  expect(code).toBe(503);
  expect(body).toEqual({ error: { code: 'REDIS_UNAVAILABLE', message: 'no reply channel' } });
});

test('answers HEAD like GET without the body', async () => {
  expect(await send('HEAD', '/v1/cluster')).toMatchObject({ status: 200, body: '' });
});

test.each(['/v1/cluster', '/v1/edges/edge-1', '/v1/clients/alice', '/v1/openapi.json'])(
  'rejects other methods for %s with any body',
  async (path) => {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      const { status: code, allow, body } = await send(method, path, 'x');
      expect([code, allow]).toEqual([405, 'GET, HEAD']);
      expect(JSON.parse(body).error.code).toBe('METHOD_NOT_ALLOWED');
    }
  },
);

/** One unary call as a promise. */
function call<Response>(
  start: (callback: (error: ServiceError | null, response: Response) => void) => unknown,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    start((error, response) => (error ? reject(error) : resolve(response)));
  });
}

test('gRPC returns the same responses', async () => {
  expect(await call<GetClusterResponse>((done) => client.getCluster({}, done))).toEqual(
    (await get('/v1/cluster')).body,
  );
  const { edges } = await call<ListEdgesResponse>((done) => client.listEdges({}, done));
  expect(edges.map(({ id, state }) => [id, state])).toEqual([
    ['edge-1', EdgeState.EDGE_STATE_ALIVE],
    ['edge-2', EdgeState.EDGE_STATE_SUSPECT],
    ['edge-9', EdgeState.EDGE_STATE_DEAD],
  ]);
  const one = await call<GetEdgeResponse>((done) => client.getEdge({ edgeId: 'edge-1' }, done));
  expect(one).toEqual({
    edge: {
      ...edges[0],
      lastReportAgeMs: expect.any(Number),
      lastReportAtMs: expect.any(Number),
    },
    shards: [0, 1],
  });
  expect(edges.map(({ gaps }) => gaps)).toEqual([3, undefined, undefined]);
  const { shards } = await call<ListShardsResponse>((done) => client.listShards({}, done));
  expect(shards.map(({ owner }) => owner)).toEqual(['edge-1', 'edge-1', 'edge-2', '']);
  const where = await call<LocateClientResponse>((done) =>
    client.locateClient({ clientId: 'alice' }, done),
  );
  expect(where).toMatchObject({ clientId: 'alice', connections: [presence], complete: true });
  expect(where.inbox).toMatchObject({ count: 2, bytes: 300, goneId: '', ttlMs: 90_000 });
});

test('gRPC rejects with the same codes', async () => {
  await expect(
    call<GetEdgeResponse>((done) => client.getEdge({ edgeId: 'x' }, done)),
  ).rejects.toMatchObject({
    code: status.NOT_FOUND,
  });
  await expect(
    call<LocateClientResponse>((done) => client.locateClient({ clientId: '' }, done)),
  ).rejects.toMatchObject({
    code: status.INVALID_ARGUMENT,
    details: expect.stringContaining('CLIENT_ID_INVALID'),
  });
});
