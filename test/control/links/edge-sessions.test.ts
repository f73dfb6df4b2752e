import { type ClientDuplexStream, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { type Assignment, toWire } from '../../../common/cluster/assignment.js';
import { applyDelta } from '../../../common/cluster/assignment-delta.js';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import { bindGrpc, type GrpcServer } from '../../../common/process/grpc/grpc-server.js';
import { Metrics } from '../../../common/process/metrics.js';
import { RedisNames } from '../../../common/redis/redis-names.js';
import { ORIGIN, type Position } from '../../../common/wire/position.js';
import { createControlConnections, createControlGrpc } from '../../../control/control-grpc.js';
import { SuspectEdges } from '../../../control/leadership/suspect-edges.js';
import { ClientScans } from '../../../control/links/client-scans.js';
import { LinkGuard } from '../../../control/links/link-guard.js';
import {
  type EdgeReport,
  MembershipDriver,
} from '../../../control/membership/membership-driver.js';
import { OperatorQueries } from '../../../control/operator/queries.js';
import type { EdgePace } from '../../../control/pace/cluster-pace.js';
import {
  type AssignmentDelta,
  AssignmentServiceClient,
  type WatchResponse,
} from '../../../proto/gen/longline/v1/assignment.js';
import {
  EdgeSessionServiceClient,
  type Hello,
  type SessionRequest,
  type SessionResponse,
  type ShardLoads,
  type Stats,
} from '../../../proto/gen/longline/v1/edge_session.js';
import { eventually } from '../../support/eventually.js';
import { apiOf, sourcesOf } from '../operator/fake-operations.js';

const SHARDS = 8;
const CLUSTER = { clusterName: undefined, redisPrefix: '' };
const LEASE_MS = 60_000;

/** Stands in for the controller: real membership, assignments and paces set by the tests. */
class FakeController {
  readonly reports: EdgeReport[] = [];
  readonly recorded: string[] = [];
  pace: EdgePace = { perSecond: 0, drainUntilMs: undefined };
  readonly membership = new MembershipDriver(LEASE_MS, {
    onChange: () => {},
    onReplan: () => {},
    onDrain: () => {},
    probe: () => Promise.resolve(false),
    onReport: (report) => this.reports.push(report),
  });
  readonly watchers = new Set<(assignment: Assignment) => void>();
  readonly suspects = new SuspectEdges();
  readonly closedPorts: string[] = [];
  current: Assignment | undefined;
  readonly ledger = undefined;

  onClosedPortReported({ id }: { id: string }): undefined {
    this.closedPorts.push(id);
  }

  onRouterLoad(): undefined {}

  watch(onChange: (assignment: Assignment) => void): () => void {
    this.watchers.add(onChange);
    if (this.current !== undefined) onChange(this.current);
    return () => this.watchers.delete(onChange);
  }

  openSession(...args: Parameters<MembershipDriver['open']>) {
    return this.membership.open(...args);
  }

  paceOf(): EdgePace {
    return this.pace;
  }

  record({ type }: { type: string }): void {
    this.recorded.push(type);
  }

  publish(epoch: number): Assignment {
    this.current = assignmentAt({ incarnation: 0, epoch });
    for (const watcher of this.watchers) watcher(this.current);
    return this.current;
  }
}

const assignmentAt = (position: Position): Assignment => ({
  position,
  edges: [{ id: 'edge-1', incarnation: 'i1', advertisedUrl: 'http://edge-1:7000', intent: 'none' }],
  owners: new Uint16Array(SHARDS),
  moves: [],
  isBalancing: false,
});

let controller: FakeController;
let grpc: GrpcServer;
let metrics: Metrics;
let scans: ClientScans;
let edges: EdgeSessionServiceClient;
let routers: AssignmentServiceClient;

beforeEach(async () => {
  controller = new FakeController();
  metrics = new Metrics();
  const log = pino({ level: 'silent' });
  const queries = new OperatorQueries(
    new ShardNames(new RedisNames(''), SHARDS),
    () => ({ assignment: controller.current, edges: controller.membership.edges }),
    sourcesOf(async () => ({ connections: [], complete: true })),
  );
  const guard = new LinkGuard({ tokens: [], certificates: [] }, CLUSTER, metrics);
  scans = new ClientScans();
  const options = { controller, scans, shardCount: SHARDS, log, metrics };
  const connections = createControlConnections(100, metrics);
  grpc = createControlGrpc(options, guard, apiOf(queries), connections);
  const address = `127.0.0.1:${await bindGrpc(grpc.server, '127.0.0.1', 0)}`;
  edges = new EdgeSessionServiceClient(address, credentials.createInsecure());
  routers = new AssignmentServiceClient(address, credentials.createInsecure());
});
afterEach(() => {
  edges.close();
  routers.close();
  grpc.server.forceShutdown();
});

const good: Hello = {
  edgeId: 'edge-1',
  incarnation: 'i1',
  advertisedUrl: 'http://edge-1.example:7000',
  capacity: 1_000,
  shardCount: SHARDS,
  have: undefined,
  zone: '',
  acceptsDeltas: false,
  build: { version: '0.2.0', commit: '1a2b3c4' },
  settings: {},
};
function loadsOf(shards: number[], connections: number[]): ShardLoads {
  return { shards, connections, messagesPer1000Seconds: shards.map(() => 0) };
}

const stats: Stats = {
  measuredUnder: undefined,
  loads: loadsOf([7], [3]),
  connections: 3,
  guests: 1,
  shardsSubscribed: 8,
  ready: true,
  memory: [],
  acquired: [],
  released: [],
  shuttingDown: false,
  handshakesPending: 0,
  eventLoopLagMs: 0,
  memoryHeadroom: 1,
  goawaysPending: 0,
  clientsReturned: 0,
  clientsReturnedIds: [],
  reconnectLoops: [],
  pushesSkipped: [],
  redisUnusable: [],
  reasons: [],
  confirmed: undefined,
  confirmationLatencies: [],
  gaps: undefined,
  redisDeserted: [],
  routersSeen: true,
};

/** One edge's session, as the edge sees it. */
class Edge {
  readonly stream: ClientDuplexStream<SessionRequest, SessionResponse>;
  readonly epochs: number[] = [];
  readonly deltas: AssignmentDelta[] = [];
  isAccepted = false;
  end: Pick<ServiceError, 'code' | 'details'> | undefined;

  constructor(hello?: Partial<Hello>) {
    this.stream = edges.session();
    this.stream.on('metadata', () => {
      this.isAccepted = true;
    });
    this.stream.on('data', ({ assignment, delta }: SessionResponse) => {
      if (delta === undefined) this.epochs.push(assignment!.position!.epoch);
      else this.deltas.push(delta);
    });
    this.stream.on('error', () => {});
    this.stream.on('status', (end) => {
      this.end = end;
    });
    if (hello) this.send({ $case: 'hello', value: { ...good, ...hello } });
  }

  send(body: NonNullable<SessionRequest['body']>): void {
    this.stream.write({ body });
  }

  report(value: Partial<Stats>): void {
    this.send({ $case: 'stats', value: { ...stats, ...value } });
  }
}

/** Streams that watch assignments; the services have a watcher of their own. */
const streams = () => controller.watchers.size - 1;

const states = () => controller.membership.edges.map(({ id, state }) => `${id} ${state.type}`);

test('accepts an edge and its reports, and suspects it when its stream breaks', async () => {
  const edge = new Edge({});
  await eventually(() => edge.isAccepted);
  expect(states()).toEqual(['edge-1 alive']);
  edge.report({});
  await eventually(() => controller.membership.edges[0]!.counts !== undefined);
  expect(controller.membership.edges[0]!.counts).toMatchObject({
    connections: 3,
    guests: 1,
    ready: true,
  });
  edge.stream.cancel();
  await eventually(() => expect(states()).toEqual(['edge-1 suspect']));
});

test('knows the gaps that an edge has found, and that an older edge does not report them', async () => {
  const edge = new Edge({});
  edge.report({});
  await eventually(() => controller.reports.length === 1);
  expect(controller.membership.edges[0]!.counts).toMatchObject({ gaps: undefined });
  edge.report({ gaps: 0 });
  await eventually(() => controller.membership.edges[0]!.counts?.gaps === 0);
  edge.report({ gaps: 2 });
  await eventually(() => controller.membership.edges[0]!.counts?.gaps === 2);
});

test('passes on that an edge is shutting down, in the report and in its counts', async () => {
  const edge = new Edge({});
  edge.report({ shuttingDown: true, ready: false });
  await eventually(() => controller.reports.length === 1);
  expect(controller.reports[0]!.isShuttingDown).toBe(true);
  expect(controller.membership.edges[0]!.counts).toMatchObject({ shuttingDown: true });
});

test('suspects an edge that ends its stream', async () => {
  const edge = new Edge({});
  await eventually(() => edge.isAccepted);
  edge.stream.end();
  await eventually(() => edge.end?.code === status.OK);
  await eventually(() => expect(states()).toEqual(['edge-1 suspect']));
});

test('sends the current assignment at once and then every newer one', async () => {
  controller.publish(1);
  const edge = new Edge({});
  await eventually(() => expect(edge.epochs).toEqual([1]));
  controller.publish(2);
  await eventually(() => expect(edge.epochs).toEqual([1, 2]));
});

test('sends only assignments newer than that of the edge', async () => {
  controller.publish(5);
  const edge = new Edge({ have: { incarnation: 0, epoch: 5 } });
  await eventually(() => edge.isAccepted);
  controller.publish(6);
  await eventually(() => expect(edge.epochs).toEqual([6]));
});

test('skips assignments that are replaced while one is in transit', async () => {
  const edge = new Edge({});
  await eventually(() => edge.isAccepted);
  for (let epoch = 1; epoch <= 100; epoch++) controller.publish(epoch);
  await eventually(() => edge.epochs.at(-1) === 100);
  expect(edge.epochs).toEqual([1, 100]);
});

test('an edge that accepts deltas receives the whole once, and again when it asks for it', async () => {
  controller.publish(1);
  const edge = new Edge({ acceptsDeltas: true });
  const former = new Edge({ edgeId: 'edge-2', incarnation: 'i2' });
  await eventually(() => expect([edge.epochs, former.epochs]).toEqual([[1], [1]]));
  const first = controller.current!;
  const second = controller.publish(2);
  await eventually(() => expect(edge.deltas).toHaveLength(1));
  expect(applyDelta(first, edge.deltas[0]!)).toEqual(second);
  edge.send({ $case: 'resendAssignment', value: {} });
  await eventually(() => expect(edge.epochs).toEqual([1, 2]));
  controller.publish(3);
  await eventually(() => expect(edge.deltas).toHaveLength(2));
  expect(applyDelta(second, edge.deltas[1]!)).toEqual(controller.current);
  await eventually(() => expect(former.epochs).toEqual([1, 2, 3]));
  const sent = await metrics.registry.metrics();
  expect(sent).toContain('longline_control_assignments_sent_total{form="whole"} 5');
  expect(sent).toContain('longline_control_assignments_sent_total{form="delta"} 2');
});

test('an edge that reconnects receives a delta from a recent assignment, else the whole', async () => {
  for (let epoch = 1; epoch <= 20; epoch++) controller.publish(epoch);
  const late = new Edge({ acceptsDeltas: true, have: { incarnation: 0, epoch: 15 } });
  await eventually(() => expect(late.deltas).toHaveLength(1));
  expect(late.deltas[0]).toMatchObject({ base: { epoch: 15 }, position: { epoch: 20 } });
  const tooLate = { incarnation: 0, epoch: 3 };
  const ids = { edgeId: 'edge-2', incarnation: 'i2' };
  const edge = new Edge({ ...ids, acceptsDeltas: true, have: tooLate });
  await eventually(() => expect(edge.epochs).toEqual([20]));
});

test('nothing is sent to an edge that asks for an assignment before there is one', async () => {
  const edge = new Edge({ acceptsDeltas: true });
  edge.send({ $case: 'resendAssignment', value: {} });
  edge.report({});
  await eventually(() => controller.reports.length === 1);
  controller.publish(1);
  await eventually(() => expect(edge.epochs).toEqual([1]));
});

test('stops watching when a stream has ended', async () => {
  const edge = new Edge({});
  const rejected = new Edge({ capacity: 0 });
  await eventually(() => edge.isAccepted && rejected.end !== undefined);
  expect(streams()).toBe(1);
  edge.stream.cancel();
  await eventually(() => streams() === 0);
});

test.each<[string, Partial<Hello>, status, RegExp]>([
  [
    'another shard count',
    { shardCount: 16 },
    status.FAILED_PRECONDITION,
    /SETTINGS_MISMATCH.*8.*16/,
  ],
  ['an empty id', { edgeId: '' }, status.INVALID_ARGUMENT, /edge_id/],
  ['an id with a slash', { edgeId: 'a/b' }, status.INVALID_ARGUMENT, /edge_id/],
  ['an id of 129 characters', { edgeId: 'x'.repeat(129) }, status.INVALID_ARGUMENT, /edge_id/],
  ['an empty incarnation', { incarnation: '' }, status.INVALID_ARGUMENT, /incarnation/],
  ['an invalid URL', { advertisedUrl: 'edge-1:7000' }, status.INVALID_ARGUMENT, /url/],
  ['a URL with a path', { advertisedUrl: 'http://h:1/x' }, status.INVALID_ARGUMENT, /url/],
  ['a URL that ends in a slash', { advertisedUrl: 'http://h:1/' }, status.INVALID_ARGUMENT, /url/],
  ['a URL with a user', { advertisedUrl: 'http://u@h:1' }, status.INVALID_ARGUMENT, /url/],
  ['another scheme', { advertisedUrl: 'ftp://h:1' }, status.INVALID_ARGUMENT, /url/],
  ['a front address without a port', { frontAddress: 'edge-1' }, status.INVALID_ARGUMENT, /front/],
  ['an invalid port', { advertisedUrl: 'http://h:99999' }, status.INVALID_ARGUMENT, /url/],
  [
    'a commit with a space',
    { build: { version: '', commit: 'a b' } },
    status.INVALID_ARGUMENT,
    /commit/,
  ],
  ['no capacity', { capacity: 0 }, status.INVALID_ARGUMENT, /capacity/],
  [
    'an implausible position',
    { have: { incarnation: 0, epoch: 2 ** 50 } },
    status.INVALID_ARGUMENT,
    /have/,
  ],
])('rejects a hello with %s', async (_, hello, code, details) => {
  const edge = new Edge(hello);
  await eventually(() => edge.end !== undefined);
  expect(edge.end).toMatchObject({ code, details: expect.stringMatching(details) });
  expect(states()).toEqual([]);
});

test.each(['edge-1', 'x'.repeat(128), 'A.b_c-9'])('accepts the id %s', async (edgeId) => {
  const edge = new Edge({ edgeId });
  await eventually(() => edge.isAccepted);
});

test('rejects the id of a live edge, with the code also in the metadata', async () => {
  const first = new Edge({});
  await eventually(() => first.isAccepted);
  const second = new Edge({ incarnation: 'i2' });
  const rejected = new Promise<ServiceError>((resolve) => second.stream.on('error', resolve));
  const error = await rejected;
  expect(error.code).toBe(status.ALREADY_EXISTS);
  expect(error.metadata.get('longline-code')).toEqual(['EDGE_ID_IN_USE']);
  first.report({});
  await eventually(() => controller.membership.edges[0]!.counts !== undefined);
});

test('ends the older session of a process that opens a newer one', async () => {
  const first = new Edge({});
  await eventually(() => first.isAccepted);
  const second = new Edge({});
  await eventually(() => first.end?.code === status.ALREADY_EXISTS);
  await eventually(() => second.isAccepted);
  expect(states()).toEqual(['edge-1 alive']);
});

test('rejects a session that does not begin with a hello', async () => {
  const edge = new Edge();
  edge.report({});
  await eventually(() => edge.end?.code === status.INVALID_ARGUMENT);
});

test('rejects a second hello', async () => {
  const edge = new Edge({});
  edge.send({ $case: 'hello', value: good });
  await eventually(() => edge.end?.code === status.INVALID_ARGUMENT);
  await eventually(() => expect(states()).toEqual(['edge-1 suspect']));
});

test('rejects a session without a hello within five seconds', async () => {
  const edge = new Edge();
  await eventually(() => edge.end?.code === status.INVALID_ARGUMENT);
});

test.each<[string, Partial<Stats>]>([
  ['a shard that does not exist', { connections: 1, guests: 0, loads: loadsOf([SHARDS], [1]) }],
  ['a shard twice', { connections: 2, loads: loadsOf([1, 1], [1, 1]) }],
  ['a shard without a count', { loads: loadsOf([1, 2], [3]) }],
  ['a count without a shard', { loads: loadsOf([1], [3, 1]) }],
  ['connections without a shard', { loads: undefined }],
  ['more subscribed shards than there are', { shardsSubscribed: SHARDS + 1 }],
  ['more guests than connections', { guests: 4 }],
])('ignores the counts of a report with %s, and keeps the edge alive', async (_, wrong) => {
  const edge = new Edge({});
  edge.report({});
  await eventually(() => controller.membership.edges[0]?.counts !== undefined);
  edge.report(wrong);
  await eventually(() => controller.membership.edges[0]!.counts === undefined);
  expect(states()).toEqual(['edge-1 alive']);
  expect(await metrics.registry.metrics()).toContain('longline_control_reports_rejected_total 1');
  edge.report({});
  await eventually(() => controller.membership.edges[0]!.counts !== undefined);
});

test('a watcher receives the current assignment, unless it has it, and every newer one', async () => {
  controller.publish(3);
  const seen: number[][] = [];
  for (const have of [undefined, ORIGIN, { incarnation: 0, epoch: 3 }]) {
    const epochs: number[] = [];
    seen.push(epochs);
    const watch = routers.watch({ have, acceptsDeltas: false });
    watch.on('error', () => {});
    watch.on('data', ({ assignment }) => {
      if (assignment !== undefined) epochs.push(assignment.position!.epoch);
    });
    await new Promise((resolve) => watch.on('metadata', resolve));
  }
  await eventually(() => expect(seen).toEqual([[3], [3], []]));
  controller.publish(4);
  await eventually(() => expect(seen).toEqual([[3, 4], [3, 4], [4]]));
});

test('a watcher that accepts deltas receives the whole and then deltas', async () => {
  const first = controller.publish(1);
  const received: WatchResponse[] = [];
  const watch = routers.watch({ have: undefined, acceptsDeltas: true });
  watch.on('error', () => {});
  watch.on('data', (response: WatchResponse) => {
    if (response.suspects === undefined) received.push(response);
  });
  await eventually(() => expect(received).toHaveLength(1));
  expect(received[0]!.assignment).toEqual(toWire(first));
  const second = controller.publish(2);
  await eventually(() => expect(received).toHaveLength(2));
  expect(applyDelta(first, received[1]!.delta!)).toEqual(second);
});

test('stops watching when a router cancels', async () => {
  const watch = routers.watch({ have: undefined, acceptsDeltas: false });
  watch.on('error', () => {});
  await eventually(() => streams() === 1);
  watch.cancel();
  await eventually(() => streams() === 0);
});

test('a watcher receives the whole assignment', async () => {
  const published = controller.publish(1);
  const watch = routers.watch({ have: undefined, acceptsDeltas: false });
  watch.on('error', () => {});
  const assignment = await new Promise((resolve) =>
    watch.on(
      'data',
      (response: WatchResponse) => response.assignment && resolve(response.assignment),
    ),
  );
  expect(assignment).toEqual(toWire(published));
});

test('a watcher receives the edges that are suspect, and may report that a port is closed', async () => {
  const seen: string[] = [];
  const watch = routers.watch({ have: undefined, acceptsDeltas: false });
  watch.on('error', () => {});
  watch.on('data', ({ suspects }: WatchResponse) => {
    seen.push(suspects!.edges.map(({ id }) => id).join());
  });
  const record = { ...good, id: 'edge-1', counts: undefined, heardAtMs: 1 };
  const suspect = { type: 'suspect', vanishedAtMs: 2, leaseEndsAtMs: 3 } as const;
  await eventually(() => expect(seen).toEqual(['']));
  controller.suspects.update([{ ...record, state: suspect }]);
  controller.suspects.update([{ ...record, state: suspect }]);
  // This control has had no session with it.
  controller.suspects.update([{ ...record, state: suspect, heardAtMs: undefined }]);
  await eventually(() => expect(seen).toEqual(['', 'edge-1', '']));
  const report = { edge: { id: 'edge-1', incarnation: 'i1' } };
  await new Promise((resolve) => routers.reportClosedPort(report, resolve));
  expect(controller.closedPorts).toEqual(['edge-1']);
});
