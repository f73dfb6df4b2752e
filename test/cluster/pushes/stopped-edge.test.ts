/**
 * Goal: an edge that does not answer costs a call one wait, and the call returns what is known
 * before its deadline. Method: a cluster of processes with devices on all edges. One edge is
 * stopped with SIGSTOP, with its connections open: first while control counts on it, then after
 * control has declared it dead.
 */
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  type LocateClientResponse,
  OperatorServiceClient,
} from '../../../proto/gen/longline/v1/operator.js';
import {
  BroadcastRequest,
  type BroadcastResponse,
  type DisconnectResponse,
  type GetPresenceResponse,
  type PushManyResponse,
  type PushResponse,
  PushServiceClient,
  PushStreamItem,
  type PushStreamResponse,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';
import { pushRequest } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';

const LEASE_MS = 10_000;
const EDGES = ['edge-1', 'edge-2', 'edge-3'];
const STOPPED = 'edge-2';
const DEVICES_PER_EDGE = 10;
/** One wait of the router, and what a busy machine adds. Waits that add up take minutes. */
const CALL_MS_MAX = 15_000;

let running: RunningCluster;
let client: PushServiceClient;
/** A client of the edge that is stopped, not connected. */
let clientId: string;
const devices = new Map<string, SseClient>();

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: EDGES.length,
    env: { LONGLINE_CONTROL_LEASE_MS: `${LEASE_MS}` },
  });
  client = new PushServiceClient(running.cluster.routerAddress, credentials.createInsecure());
  for (const edgeId of EDGES) {
    for (const clientId of await running.clientIdsOf(edgeId, DEVICES_PER_EDGE, edgeId)) {
      devices.set(clientId, await SseClient.open(running.connectUrl(clientId)));
    }
  }
  clientId = await running.clientIdOf(STOPPED, 'offline');
  process.kill(running.cluster.pid(STOPPED)!, 'SIGSTOP');
});

afterAll(async () => {
  const pid = running?.cluster.pid(STOPPED);
  if (pid !== undefined) process.kill(pid, 'SIGCONT');
  for (const device of devices.values()) device.close();
  client?.close();
  await running?.stop();
});

type Start<Response> = (done: (error: ServiceError | null, response: Response) => void) => unknown;

function call<Response>(start: Start<Response>): Promise<Response> {
  return new Promise((resolve, reject) => {
    start((error, response) => (error ? reject(error) : resolve(response)));
  });
}

/** Repeats a call whose response comes after its deadline: on a busy machine, one may. */
function callInTime<Response>(start: Start<Response>): Promise<Response> {
  return eventually(() => call(start));
}

const within = (ms: number) => ({ deadline: Date.now() + ms });

function broadcast(clientsPerSecond: number, deadlineMs: number): Promise<BroadcastResponse> {
  const request = BroadcastRequest.fromPartial({
    payload: Buffer.from('to all'),
    clientsPerSecond,
  });
  return callInTime((done) => client.broadcast(request, new Metadata(), within(deadlineMs), done));
}

/** Clients that no device has connected, of shards of all edges. */
const away = Array.from({ length: 6_000 }, (_, i) => `away-${i}`);

async function expectBoundedCalls(): Promise<void> {
  const startedMs = performance.now();
  const all = await broadcast(1_000, 2 * CALL_MS_MAX);
  expect(performance.now() - startedMs).toBeLessThan(CALL_MS_MAX);
  expect(all.written).toBe(2 * DEVICES_PER_EDGE);
  expect(all.shardsUnknown).toBeGreaterThan(1_000);
  expect(all.shardsNotSent).toBe(0);

  const pushedMs = performance.now();
  const request = { ...pushRequest('', 'many', { ttlMs: 0 }), clientIds: away };
  const many = await call<PushManyResponse>((done) => client.pushMany(request, done));
  expect(performance.now() - pushedMs).toBeLessThan(CALL_MS_MAX);
  expect(many.failed).toBe(0);
  const counts = new Map(many.counts.map(({ verdict, count }) => [verdict, count]));
  expect(counts.get(Verdict.VERDICT_UNKNOWN)).toBeGreaterThan(1_000);
  expect(counts.get(Verdict.VERDICT_OFFLINE)).toBeGreaterThan(1_000);
}

describe('while control counts on the stopped edge', () => {
  test('Broadcast and PushMany take one wait', expectBoundedCalls);

  test('Broadcast respects its rate beside the shards that do not answer', async () => {
    const startedMs = performance.now();
    await broadcast(5, 60_000);
    // 20 clients at 5 per second; the first shards are sent at once.
    expect(performance.now() - startedMs).toBeGreaterThan(3_000);
  });

  test('Broadcast returns the counts so far before its deadline', async () => {
    const partial = await broadcast(2, 3_000);
    expect(partial.written).toBeGreaterThan(0);
    expect(partial.written).toBeLessThan(2 * DEVICES_PER_EDGE);
    expect(partial.shardsNotSent).toBeGreaterThan(0);
  });

  test('calls about one client return before their deadline with what is known', async () => {
    const metadata = new Metadata();
    const live = await callInTime<PushResponse>((done) =>
      client.push(pushRequest(clientId, 'x', { ttlMs: 0 }), metadata, within(1_500), done),
    );
    expect(live.verdict).toBe(Verdict.VERDICT_UNKNOWN);
    const durable = await callInTime<PushResponse>((done) =>
      client.push(pushRequest(clientId, 'x'), metadata, within(1_500), done),
    );
    expect(durable.verdict).toBe(Verdict.VERDICT_STORED);
    const found = await callInTime<GetPresenceResponse>((done) =>
      client.getPresence({ clientId, user: '' }, metadata, within(700), done),
    );
    expect(found).toEqual({ connections: [], complete: false });
    const operator = new OperatorServiceClient(
      running.cluster.grpcAddress('control'),
      credentials.createInsecure(),
    );
    const located = await callInTime<LocateClientResponse>((done) =>
      operator.locateClient({ clientId }, metadata, within(700), done),
    ).finally(() => operator.close());
    expect(located).toMatchObject({ connections: [], complete: false });
    const closed = await callInTime<DisconnectResponse>((done) =>
      client.disconnect({ clientId, user: '' }, metadata, within(700), done),
    );
    expect(closed).toEqual({ closed: 0, complete: false });
  });

  test('PushMany counts before its deadline what was sent', async () => {
    const request = { ...pushRequest('', 'many', { ttlMs: 0 }), clientIds: away };
    const many = await callInTime<PushManyResponse>((done) =>
      client.pushMany(request, new Metadata(), within(2_500), done),
    );
    const counted = many.counts.reduce((sum, { count }) => sum + count, many.failed);
    expect(counted).toBe(away.length);
    for (const { failure } of many.failures) expect(failure?.code).toBe('DEADLINE_EXCEEDED');
  });

  test('PushStream answers every push before the deadline of the stream', async () => {
    const stream = client.pushStream(new Metadata(), within(4_000));
    const ended = new Promise<ServiceError | undefined>((resolve) => {
      stream.on('error', resolve);
      stream.on('end', () => resolve(undefined));
    });
    let answered = 0;
    stream.on('data', ({ results }: PushStreamResponse) => {
      answered += results.length;
    });
    const items = away.slice(0, 1_000).map((clientId, index) =>
      PushStreamItem.fromPartial({
        correlationId: `${index}`,
        push: pushRequest(clientId, 'x', { ttlMs: 0, waitMs: 30_000 }),
      }),
    );
    stream.write({ items });
    stream.end();
    expect(await ended).toBeUndefined();
    expect(answered).toBe(items.length);
  });
});

describe('after control has declared the edge dead', () => {
  test('calls take one wait', async () => {
    await eventually(async () => {
      const stopped = (await running.edges()).find(({ id }) => id === STOPPED);
      expect(stopped?.state).toBe('dead');
      expect(stopped?.shardsOwned).toBe(0);
    }, 3 * LEASE_MS);
    await expectBoundedCalls();
  });
});
