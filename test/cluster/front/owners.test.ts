/**
 * Goal: a front connects to the owner in the newest assignment, rejects a device in its own
 * protocol if there is none, and enforces its limits; an edge with a newer assignment corrects the
 * front. Method: a real router with a front, real edges and a real Redis. The test replaces
 * control, so that owners can be dead, change at a chosen moment, or be known to one role only.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type AssignedEdge, NO_OWNER } from '../../../common/cluster/assignment.js';
import { FakeControl } from '../../support/cluster/fake-control.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { type Role, startRole } from '../../support/cluster/role.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

const SHARDS = 8;
/** An edge at a port without a listener. */
const DEAD: AssignedEdge = {
  id: 'edge-0',
  incarnation: 'dead',
  advertisedUrl: 'http://127.0.0.1:1',
  intent: 'none',
};

let redis: TestRedis;
let control: FakeControl;
/** The router under test. */
let router: Role;
let one: AssignedEdge;
let two: AssignedEdge;
const roles: Role[] = [];
const sockets: RawSocket[] = [];

beforeAll(async () => {
  redis = await startRedis();
  control = await FakeControl.start();
  router = await startRouter();
  [one, two] = [await startEdge('edge-1'), await startEdge('edge-2')];
});

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
});

afterAll(async () => {
  await Promise.all(roles.map((role) => role.stop()));
  control.stop();
  await redis.stop();
});

async function start(role: string, env: NodeJS.ProcessEnv): Promise<Role> {
  const started = await startRole(role, {
    LONGLINE_REDIS_URL: redis.url,
    LONGLINE_SHARD_COUNT: `${SHARDS}`,
    LONGLINE_CONTROL_ADDRESS: control.address,
    LONGLINE_LOG_LEVEL: 'error',
    ...env,
  });
  roles.push(started);
  return started;
}

function startRouter(env: NodeJS.ProcessEnv = {}): Promise<Role> {
  return start('router', {
    LONGLINE_ROUTER_HTTP_PORT: '0',
    LONGLINE_ROUTER_GRPC_PORT: '0',
    LONGLINE_ROUTER_FRONT_PORT: '0',
    // So long that the test sees a device that is pending.
    LONGLINE_ROUTER_FRONT_CONNECT_TIMEOUT_MS: '4000',
    ...env,
  });
}

/** Returns the edge as in assignments, with an address that does not depend on the host name. */
async function startEdge(id: string): Promise<AssignedEdge> {
  const { ports } = await start('edge', {
    LONGLINE_EDGE_ID: id,
    LONGLINE_EDGE_PORT: '0',
    LONGLINE_EDGE_ADMIN_PORT: '0',
    LONGLINE_PROXY_NETWORKS: '127.0.0.0/8',
  });
  await eventually(() => control.sessions.has(id));
  const edge = control.edges().find((each) => each.id === id)!;
  return { ...edge, frontAddress: `127.0.0.1:${ports.devices}` };
}

/**
 * Makes `owner` the owner of all shards; undefined for no owner. Resolves when the router has the
 * assignment, unless it is sent to edges only.
 */
async function own(
  owner: AssignedEdge | undefined,
  all: readonly AssignedEdge[],
  recipients?: 'edges' | 'routers',
): Promise<void> {
  const edges = all.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const index = owner === undefined ? NO_OWNER : edges.indexOf(owner);
  const owners = new Uint16Array(SHARDS).fill(index);
  control.publish({ edges, owners, moves: [], isBalancing: false }, recipients);
  if (recipients === 'edges') return;
  const { epoch } = control.current.position;
  await eventually(async () => expect(await metric('assignment_epoch')).toBe(epoch));
}

async function dial(): Promise<RawSocket> {
  const socket = await RawSocket.connect(router.ports.front!);
  sockets.push(socket);
  return socket;
}

const UPGRADE =
  'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

/** @param more further header lines */
async function connect(clientId: string, accept = '*/*', more = ''): Promise<RawSocket> {
  const socket = await dial();
  const head = `GET /connect?clientId=${clientId} HTTP/1.1\r\nHost: front\r\nAccept: ${accept}`;
  await socket.send(`${head}\r\n${more}\r\n`);
  return socket;
}

/** CONNECT of client "a", MQTT 3.1.1 or 5. */
async function connectMqtt(version: 4 | 5): Promise<RawSocket> {
  const socket = await dial();
  const rest = version === 4 ? '04 02 003c 0001 61' : '05 02 003c 00 0001 61';
  const body = `0004 4d515454 ${rest}`.replaceAll(' ', '');
  const length = (body.length / 2).toString(16).padStart(2, '0');
  await socket.send(Buffer.from(`10${length}${body}`, 'hex'));
  return socket;
}

async function metric(name: string, label = ''): Promise<number> {
  const { body } = await httpRequest(`http://127.0.0.1:${router.ports.http}/metrics`);
  const line = body.split('\n').find((each) => each.startsWith(`longline_router_${name}${label} `));
  return Number(line?.split(' ').at(-1) ?? 0);
}

const rejected = (code: string) => metric('front_rejected_total', `{code="${code}"}`);

/** Checks the responses to devices of all protocols that cannot be served now. */
async function expectRejections(code: string): Promise<void> {
  const before = await rejected(code);
  const [plain, stream, mqtt4, mqtt5] = [
    await connect('a'),
    await connect('a', 'text/event-stream'),
    await connectMqtt(4),
    await connectMqtt(5),
  ];
  for (const socket of [plain, stream, mqtt4, mqtt5]) await socket.untilEnded();
  expect([plain.status, plain.code]).toEqual([503, code]);
  expect(plain.text).toContain('\r\nRetry-After: 1\r\n');
  // An EventSource does not reconnect after a status of 503.
  expect(stream.status).toBe(200);
  expect(stream.text).toMatch(/\r\n\r\nretry: \d+\nevent: goaway\ndata: \{\}\n\n$/);
  // mqtt.js does not reconnect after a CONNACK that rejects.
  expect([mqtt4.text, mqtt5.text]).toEqual(['', '']);
  await eventually(async () => expect(await rejected(code)).toBe(before + 4));
}

const untilPending = (count: number) =>
  eventually(async () => expect(await metric('front_pending')).toBe(count));

describe('without a reachable owner', () => {
  test('a device is rejected in its own protocol if there is no owner', async () => {
    await own(undefined, [one]);
    await expectRejections('NO_EDGE');
  });

  test('a device is rejected if the owner is dead, after several tries', async () => {
    const before = await metric('front_connect_failures_total');
    await own(DEAD, [DEAD]);
    await expectRejections('EDGE_UNREACHABLE');
    expect(await metric('front_connect_failures_total')).toBeGreaterThan(before + 1);
    await untilPending(0);
  });

  test('a device is rejected at the deadline if the machine of the owner is silent', async () => {
    // TEST-NET-1 (RFC 5737): no machine replies, or there is no route.
    const silent = { ...DEAD, frontAddress: '192.0.2.1:9' };
    await own(silent, [silent]);
    const socket = await connect('a');
    await socket.untilEnded();
    expect(socket.status).toBe(503);
  });

  test('a pending device is connected to the owner in the next assignment', async () => {
    await own(DEAD, [DEAD]);
    const socket = await connect('a');
    await untilPending(1);
    await own(one, [DEAD, one]);
    await socket.untilText('retry: 1000');
    expect(socket.status).toBe(200);
  });

  test('a device that disconnects is no longer pending', async () => {
    await own(DEAD, [DEAD]);
    await untilPending(0);
    const socket = await connect('a');
    await untilPending(1);
    socket.reset();
    await untilPending(0);
    expect(socket.text).toBe('');
  });
});

describe('an edge and a front with different assignments', () => {
  /** Resolves when both edges have reported under the newest assignment. */
  const untilEdgesReport = () =>
    eventually(() => control.stats('edge-1') && control.stats('edge-2') && true);

  test('the edge rejects a device of a stale front before it has a session', async () => {
    await own(one, [one, two]);
    await (await connect('a')).untilText('retry: 1000');
    await own(two, [one, two], 'edges');
    await untilEdgesReport();
    const socket = await connect('b');
    await socket.untilEnded();
    expect(socket.status).toBe(200);
    expect(socket.text).toMatch(/\nretry: \d+\nevent: goaway\ndata: \{\}\n\n\r\n0\r\n\r\n$/);
    const webSocket = await connect('c', '*/*', UPGRADE);
    await webSocket.untilEnded();
    expect([webSocket.status, webSocket.code]).toEqual([503, 'NOT_READY']);
    expect(webSocket.text).toMatch(/\r\nRetry-After: [12]\r\n/);
    await own(two, [one, two]);
    await eventually(async () => {
      const again = await connect('b');
      await again.untilText('retry: 1000');
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(again.text).not.toContain('goaway');
    });
  });

  test('a stale edge serves the devices that the front forwards', async () => {
    await own(one, [one, two]);
    await untilEdgesReport();
    await own(two, [one, two], 'routers');
    const socket = await connect('d');
    await socket.untilText('retry: 1000');
    await eventually(() => expect(control.sessions.get('edge-2')!.stats!.connections).toBe(1));
    expect(socket.text).not.toContain('goaway');
  });

  test('a front disconnects the devices of an edge that has left the cluster', async () => {
    const gone = () => metric('front_closed_total', '{reason="edge_gone"}');
    await own(one, [one, two]);
    const before = await gone();
    const socket = await connect('e');
    await socket.untilText('retry: 1000');
    await own(two, [two], 'routers');
    await socket.untilEnded();
    await eventually(async () => expect(await gone()).toBe(before + 1));
    await eventually(async () => expect(await metric('front_devices')).toBe(0));
  });
});

describe('limits', () => {
  beforeAll(async () => {
    router = await startRouter({
      LONGLINE_ROUTER_FRONT_DEVICES_MAX: '2',
      LONGLINE_ROUTER_FRONT_PENDING_MAX: '1',
    });
  });

  test('devices over the maximum are rejected until another one disconnects', async () => {
    await own(one, [one]);
    const first = await connect('a');
    await first.untilText('retry: 1000');
    await (await connect('b')).untilText('retry: 1000');
    const third = await connect('c');
    await third.untilEnded();
    expect([third.status, third.code]).toEqual([503, 'FRONT_FULL']);
    first.close();
    await eventually(async () => {
      const fourth = await connect('d');
      await eventually(() => fourth.text.includes('retry: 1000') || fourth.isEnded);
      expect(fourth.status).toBe(200);
    });
  });

  test('silent connections do not keep devices out', async () => {
    await own(one, [one]);
    await eventually(async () => expect(await metric('front_devices')).toBe(0));
    const before = await metric('front_over_limit_total');
    // The front accepts as many connections as devices, and as many as it may reject at once.
    for (let i = 0; i < 140; i++) await dial().catch(() => {});
    await eventually(async () => expect(await metric('front_over_limit_total')).toBe(before + 10));
    await eventually(() => expect(sockets.filter(({ isEnded }) => isEnded).length).toBe(10));
    const device = await connect('a');
    await device.untilText('retry: 1000');
  });

  test('the number of pending devices is limited', async () => {
    await own(DEAD, [DEAD]);
    await untilPending(0);
    const first = await connect('a');
    await untilPending(1);
    const second = await connect('b');
    await second.untilEnded();
    expect([second.status, second.code]).toEqual([503, 'OVERLOADED']);
    await first.untilEnded();
    expect(first.code).toBe('EDGE_UNREACHABLE');
  });
});
