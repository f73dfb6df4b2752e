/**
 * Goal: all roles use the one Redis server to which its address leads now. A promoted server, a
 * former master that lives on, and an edge that reaches another server than the routers: each is
 * noticed within seconds, said by both sides, and no push that was accepted stays undelivered.
 *
 * Method: two real servers, and processes that reach them through proxies whose target moves while
 * existing connections stay, as with a name in DNS. One edge has a proxy of its own. Devices record
 * what they receive; pushes go on all the time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { controlApi } from '../../../cli/control/api.js';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { metricOf } from '../../support/cluster/metric.js';
import { LIVE, PushClient } from '../../support/cluster/push-client.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { TcpProxy } from '../../support/cluster/tcp-proxy.js';
import { Device } from '../../support/devices/device.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

const DEVICES = 20;
const TTL_MS = 10 * 60_000;
/** Longer than the third test leaves an edge behind, or control gives its shards to the other. */
const LEASE_MS = 20_000;
/** Lines of output to print when something is not noticed. */
const LAST_LINES = 60;

let [a, b] = [] as unknown as [TestRedis, TestRedis];
let [adminOfA, adminOfB] = [] as unknown as [Redis, Redis];
/** For all roles, and for the first edge only. */
let [address, addressOfEdge] = [] as unknown as [TcpProxy, TcpProxy];
let cluster: LocalCluster;
let pushes: PushClient;
let devices: Device[];
const lines: string[] = [];
/** Payloads of accepted pushes, by clientId. */
const accepted = new Map<string, string[]>();

beforeAll(async () => {
  a = await startRedis(['--repl-diskless-sync-delay', '0']);
  b = await startRedis(['--replicaof', `127.0.0.1 ${a.port}`, '--repl-diskless-sync-delay', '0']);
  adminOfA = new Redis(a.port, '127.0.0.1');
  adminOfB = new Redis(b.port, '127.0.0.1');
  await eventually(async () => (await adminOfB.info('replication')).includes('link_status:up'));
  address = await TcpProxy.start(a.port);
  addressOfEdge = await TcpProxy.start(a.port);
  cluster = await LocalCluster.start({
    redisUrl: `redis://127.0.0.1:${address.port}`,
    redisUrls: { 'edge-1': `redis://127.0.0.1:${addressOfEdge.port}` },
    edges: 2,
    ports: 'free',
    restart: false,
    // Few shards, which all move at once.
    env: { LONGLINE_CONTROL_LEASE_MS: `${LEASE_MS}`, LONGLINE_SHARD_COUNT: '64' },
    onOutput: (name, line) => void lines.push(`${name}: ${line}`),
  });
  await cluster.waitUntilReady(90_000);
  pushes = new PushClient(cluster.routerAddress);
  devices = Array.from({ length: DEVICES }, (_, i) => {
    const clientId = `device-${i}`;
    accepted.set(clientId, []);
    return new Device(clientId, `${cluster.routerUrl}/connect?clientId=${clientId}`);
  });
  await eventually(() => devices.every(({ connectedTo }) => connectedTo !== undefined));
});

afterAll(async () => {
  await Promise.all((devices ?? []).map((device) => device.close()));
  pushes?.close();
  await cluster?.stop();
  for (const admin of [adminOfA, adminOfB]) admin?.disconnect();
  for (const proxy of [address, addressOfEdge]) proxy?.close();
  for (const server of [a, b]) await server?.stop();
});

/** Pushes to every device once. Returns how often each verdict or error was the result. */
async function pushToAll(payload: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  await Promise.all(
    devices.map(async ({ clientId }) => {
      let name = 'rejected';
      try {
        const result = await pushes.push(clientId, payload, { ttlMs: TTL_MS, waitMs: 1_000 });
        name = result.verdict;
        if (['WRITTEN', 'STORED'].includes(name)) accepted.get(clientId)!.push(payload);
      } catch {}
      counts[name] = (counts[name] ?? 0) + 1;
    }),
  );
  return counts;
}

function untilAllWritten(label: string): Promise<unknown> {
  return eventually(async () => {
    expect(await pushToAll(label)).toEqual({ WRITTEN: DEVICES });
  });
}

function expectAllReceived(): Promise<unknown> {
  return eventually(() => {
    for (const { clientId, received } of devices) {
      const missing = accepted.get(clientId)!.filter((payload) => !received.includes(payload));
      expect({ [clientId]: missing }).toEqual({ [clientId]: [] });
    }
  });
}

/** Connections of roles, without those that only ask who the server is. */
async function connectionsTo(admin: Redis): Promise<string[]> {
  const list = String(await admin.client('LIST'));
  const names = [...list.matchAll(/ name=(\S+)/g)].map(([, name]) => name!);
  return names.filter((name) => !name.endsWith('-check'));
}

async function reasonsOf(name: string): Promise<string> {
  const { body } = await httpRequest(`${cluster.httpUrl(name)}/readyz`);
  return JSON.parse(body).reasons.join('\n');
}

async function untilAllReady(): Promise<void> {
  await eventually(async () => {
    for (const name of cluster.names) {
      expect({ [name]: await reasonsOf(name) }).toEqual({ [name]: '' });
    }
  });
}

/**
 * An edge without shards is neither waited for nor missed. One that started late, or was away for
 * longer than its lease, has none for a minute.
 */
function untilAllOwnShards(): Promise<void> {
  return eventually(async () => {
    const api = controlApi(cluster.controlUrl);
    const edges = await api.edges();
    expect(edges.map(({ shardsOwned }) => shardsOwned)).not.toContain(0);
    expect((await api.moves()).inFlight).toEqual([]);
  }, 100_000);
}

async function runIdOf(admin: Redis): Promise<string> {
  return /run_id:(\w+)/.exec(await admin.info('server'))![1]!;
}

async function clientIdOf(edge: string): Promise<string> {
  for (let i = 0; ; i++) {
    const url = `${cluster.routerUrl}/connect?clientId=absent-${i}`;
    const { body } = await httpRequest(url, { headers: { accept: 'application/json' } });
    if (JSON.parse(body).edgeId === edge) return `absent-${i}`;
  }
}

test('every connection follows the address to a promoted server', async () => {
  await untilAllWritten('before');
  await adminOfB.replicaof('NO', 'ONE');
  await adminOfA.replicaof('127.0.0.1', b.port);
  for (const proxy of [address, addressOfEdge]) proxy.moveTo(b.port);
  for (let i = 0; i < 20; i++) {
    await pushToAll(`during ${i}`);
    await sleep(100);
  }
  await untilAllWritten('promoted');
  await eventually(async () => expect(await connectionsTo(adminOfA)).toEqual([]));
  await expectAllReceived();
  await untilAllReady();
  for (const name of cluster.names) {
    const count = async (reason: string) =>
      metricOf(cluster.httpUrl(name), 'longline_redis_redials_total', { reason });
    expect(
      (await count('replica')) + (await count('other-server')) + (await count('read-only')),
    ).toBeGreaterThan(0);
  }
});

test('every connection follows the address when the former master lives on as a master', async () => {
  await adminOfA.replicaof('NO', 'ONE');
  for (const proxy of [address, addressOfEdge]) proxy.moveTo(a.port);
  // Nothing is pushed meanwhile: what the former master accepts now, only that has.
  await eventually(async () => expect(await connectionsTo(adminOfB)).toEqual([]));
  await untilAllWritten('lives on');
  await expectAllReceived();
  await untilAllReady();
});

test('while an edge has not followed the router to the new master, no client is OFFLINE', async () => {
  await untilAllOwnShards();
  await adminOfB.replicaof('127.0.0.1', a.port);
  await eventually(async () => (await adminOfB.info('replication')).includes('link_status:up'));
  const absent = await clientIdOf('edge-2');
  const verdictOfAbsent = async () => {
    // Unavailable until the router has followed.
    const result = await pushes.push(absent, 'live', LIVE).catch(() => undefined);
    return result?.verdict;
  };
  expect(await verdictOfAbsent()).toBe('OFFLINE');
  await adminOfB.replicaof('NO', 'ONE');
  await adminOfA.replicaof('127.0.0.1', b.port);
  address.moveTo(b.port);
  await eventually(async () => {
    const ofRouter = (names: readonly string[]) => names.filter((name) => name.includes('router'));
    expect(ofRouter(await connectionsTo(adminOfA))).toEqual([]);
    expect(ofRouter(await connectionsTo(adminOfB)).length).toBeGreaterThan(2);
  });
  for (let i = 0; i < 20; i++) {
    expect(await verdictOfAbsent()).not.toBe('OFFLINE');
    await sleep(100);
  }
  addressOfEdge.moveTo(b.port);
  await eventually(async () => expect(await verdictOfAbsent()).toBe('OFFLINE'));
  await untilAllWritten('followed');
});

test('an edge that reaches another server than the router is noticed by both, and replaced', async () => {
  await untilAllOwnShards();
  await adminOfA.replicaof('NO', 'ONE');
  // Only the first edge follows to the other server, where everything seems fine to it.
  addressOfEdge.moveTo(a.port);
  const [runIdA, runIdB] = [await runIdOf(adminOfA), await runIdOf(adminOfB)];
  const isSaidBy = (name: string, text: string) =>
    lines.some((line) => line.startsWith(`${name}: `) && line.includes(text));
  try {
    await Promise.all([
      eventually(async () => expect(await reasonsOf('edge-1')).toContain(`run id ${runIdA}`)),
      eventually(async () => {
        const reasons = await reasonsOf('router');
        expect(reasons).toMatch('edges edge-1 do not use the same server');
        expect(reasons).toContain(`run id ${runIdB}`);
      }),
      eventually(() => isSaidBy('edge-1', 'no router uses this Redis server')),
      eventually(() => isSaidBy('router', 'edges do not use this Redis server')),
    ]);
  } catch (error) {
    console.log(lines.slice(-LAST_LINES).join('\n'));
    throw error;
  }
  expect(await reasonsOf('edge-2')).toBe('');
  const counts = await pushToAll('apart');
  expect(counts.STORED).toBeGreaterThan(0);
  expect(counts.STORED! + counts.WRITTEN!).toBe(DEVICES);

  // Control gives its shards to the other edge, which reads the inboxes.
  await eventually(async () => {
    const events = await controlApi(cluster.controlUrl).events(0);
    expect(events.map(({ type }) => type)).toContain('edge-partitioned');
  }, 3 * LEASE_MS);
  await expectAllReceived();

  addressOfEdge.moveTo(b.port);
  await eventually(async () => expect(await connectionsTo(adminOfA)).toEqual([]));
  await untilAllReady();
  await untilAllWritten('together');
});
