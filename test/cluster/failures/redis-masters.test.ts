/**
 * Goal: when one master of a Redis Cluster dies that has no replica, everything of the other
 * masters works, every role says what does not, and pushes to the dead master fail at once.
 *
 * Method: three real masters without replicas, a real cluster of two edges, and connected clients
 * of each master. One master is killed that has no key of control, then the one that has the
 * leader's lock and the assignment. Both are restarted, empty.
 */

import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import keySlot from 'cluster-key-slot';
import { controlApi } from '../../../cli/control/api.js';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { shardOf, shardTags } from '../../../common/cluster/shard.js';
import {
  BroadcastRequest,
  type BroadcastResponse,
  PushManyRequest,
  type PushManyResponse,
  PushServiceClient,
} from '../../../proto/gen/longline/v1/push.js';
import { metricOf, untilCaughtUp } from '../../support/cluster/metric.js';
import { PushClient } from '../../support/cluster/push-client.js';
import { startRedisCluster, type TestCluster } from '../../support/cluster/redis-cluster.js';
import { Device } from '../../support/devices/device.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

const SHARDS = 4096;
const DEVICES_PER_MASTER = 10;
const TTL_MS = 10 * 60_000;
const RECOVERY_MS_MAX = 30_000;
/** Less than the timeout of a command, generous for a busy machine. */
const FAST_MS_MAX = 1_500;
const POLL_MS = 200;

const tags = shardTags(SHARDS);
let redis: TestCluster;
let cluster: LocalCluster;
let pushes: PushClient;
let backend: PushServiceClient;
/** By master. */
let devices: Map<string, Device[]>;

beforeAll(async () => {
  redis = await startRedisCluster({ replicas: 0, isPartial: true });
  cluster = await LocalCluster.start({
    redisUrl: redis.urls.join(','),
    edges: 2,
    ports: 'free',
    restart: false,
  });
  await cluster.waitUntilReady(90_000);
  pushes = new PushClient(cluster.routerAddress);
  backend = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  devices = await connectDevices();
  await untilCaughtUp(cluster);
});

afterAll(async () => {
  await Promise.all(allDevices().map((device) => device.close()));
  pushes?.close();
  backend?.close();
  await cluster?.stop();
  await redis?.stop();
});

function allDevices(): Device[] {
  return [...(devices?.values() ?? [])].flat();
}

async function connectDevices(): Promise<Map<string, Device[]>> {
  const byMaster = new Map<string, Device[]>();
  for (let i = 0; ; i++) {
    const clientId = `device-${i}`;
    const master = await redis.masterOfSlot(keySlot(`ll:{${tags[shardOf(clientId, SHARDS)]}}`));
    const ofMaster = byMaster.get(master) ?? [];
    byMaster.set(master, ofMaster);
    if (ofMaster.length < DEVICES_PER_MASTER) {
      ofMaster.push(new Device(clientId, `${cluster.routerUrl}/connect?clientId=${clientId}`));
    }
    const found = [...byMaster.values()];
    if (found.length === 3 && found.every(({ length }) => length === DEVICES_PER_MASTER)) break;
  }
  await eventually(
    () => [...byMaster.values()].flat().every(({ connectedTo }) => connectedTo !== undefined),
    RECOVERY_MS_MAX,
  );
  return byMaster;
}

interface Outcome {
  /** Verdict, or code of the error. */
  readonly name: string;
  readonly ms: number;
}

async function pushTo(device: Device, payload: string): Promise<Outcome> {
  const startedMs = performance.now();
  const ms = () => performance.now() - startedMs;
  try {
    const { verdict } = await pushes.push(device.clientId, payload, { ttlMs: TTL_MS });
    return { name: verdict, ms: ms() };
  } catch (error) {
    const [code] = (error as ServiceError).metadata.get('longline-code');
    return { name: String(code ?? (error as Error).message), ms: ms() };
  }
}

async function readyz(name: string): Promise<{ status: number; reasons: string[] }> {
  const { status, body } = await httpRequest(`${cluster.httpUrl(name)}/readyz`);
  return { status, reasons: JSON.parse(body).reasons };
}

/** The status that gRPC health reports: 1 is SERVING. */
function healthOf(name: string): Promise<number> {
  const client = new Client(cluster.grpcAddress(name), credentials.createInsecure());
  const bytes = (value: Buffer) => value;
  return new Promise<number>((resolve, reject) => {
    client.makeUnaryRequest(
      '/grpc.health.v1.Health/Check',
      bytes,
      bytes,
      Buffer.alloc(0),
      (error, reply) => (error ? reject(error) : resolve(reply![1]!)),
    );
  }).finally(() => client.close());
}

async function expectAll(reached: readonly Device[], payload: string, name: string) {
  const outcomes = await Promise.all(reached.map((device) => pushTo(device, payload)));
  expect(outcomes.map((outcome) => outcome.name)).toEqual(reached.map(() => name));
  return outcomes;
}

/** Resolves when every push is written again and every subscription is back. */
async function untilRecovered(): Promise<void> {
  await eventually(async () => {
    await expectAll(allDevices(), 'again', 'WRITTEN');
    for (const name of cluster.names) {
      expect({ [name]: await readyz(name) }).toEqual({ [name]: { status: 200, reasons: [] } });
    }
  }, RECOVERY_MS_MAX);
}

test('the masters that live deliver while a dead one is named, and its pushes fail at once', async () => {
  const dead = await redis.masterOfSlot(0);
  expect(await redis.masterOfSlot(keySlot('ll:leader'))).not.toBe(dead);
  const ofDead = devices.get(dead)!;
  const others = allDevices().filter((device) => !ofDead.includes(device));
  const unready: string[] = [];
  const watching = setInterval(async () => {
    for (const name of cluster.names) {
      const { status, reasons } = await readyz(name);
      if (status !== 200) unready.push(reasons.join());
    }
  }, POLL_MS);
  await redis.killNode(dead);
  const first = await Promise.all(ofDead.map((device) => pushTo(device, 'lost')));
  for (const { name } of first) expect(['REDIS_UNAVAILABLE', 'UNKNOWN']).toContain(name);
  await expectAll(others, 'one', 'WRITTEN');

  await eventually(async () => {
    for (const name of cluster.names) {
      const { reasons } = await readyz(name);
      expect(reasons.join()).toContain(`Redis ${dead}`);
    }
  }, RECOVERY_MS_MAX);
  await eventually(async () => {
    const { outcome } = await pushOutcomeText(ofDead[0]!);
    expect(outcome).toMatch(`through Redis ${dead}`);
  }, RECOVERY_MS_MAX);
  // A busy machine may delay one round; one that waits for the dead master is late each time.
  await eventually(async () => {
    const rejected = await expectAll(ofDead, 'lost', 'REDIS_UNAVAILABLE');
    for (const { ms } of rejected) expect(ms).toBeLessThan(FAST_MS_MAX);
  });
  await expectAll(others, 'two', 'WRITTEN');
  for (const name of ['router', 'control']) expect(await healthOf(name)).toBe(1);
  const labels = { master: dead };
  for (const name of cluster.names) {
    const url = cluster.httpUrl(name);
    expect(await metricOf(url, 'longline_redis_master_delivers', labels)).toBe(0);
  }
  clearInterval(watching);
  // A process that was suspended on a busy machine has no proof of any master.
  const isOfAll = (reasons: string) => [...devices.keys()].every((each) => reasons.includes(each));
  expect(unready.filter((reasons) => !isOfAll(reasons))).toEqual([]);

  const many = await pushMany(allDevices().map(({ clientId }) => clientId));
  expect(many.failed).toBe(DEVICES_PER_MASTER);
  expect(new Set(many.failures.map(({ failure }) => failure?.code))).toEqual(
    new Set(['REDIS_UNAVAILABLE']),
  );
  const all = await broadcast();
  expect(all.written).toBe(2 * DEVICES_PER_MASTER);
  expect(all.shardsNotSent).toBeGreaterThan(1_300);
  expect(all.shardsNotSent).toBeLessThan(1_430);
  expect(all.shardsUnknown).toBe(0);

  // No connection was closed, and the shards of the dead master stay where they are.
  for (const device of allDevices()) expect(device.connections).toBe(1);
  expect((await controlApi(cluster.controlUrl).cluster()).shardsUnowned).toBe(0);
  await redis.restartNode(dead);
  await untilRecovered();
  for (const device of allDevices()) expect(device.connections).toBe(1);
});

test('without the master of its lock no control leads, and everything else goes on', async () => {
  const dead = await redis.masterOfSlot(keySlot('ll:leader'));
  expect(await redis.masterOfSlot(keySlot('ll:assignment'))).toBe(dead);
  const ofDead = devices.get(dead)!;
  const others = allDevices().filter((device) => !ofDead.includes(device));
  await redis.killNode(dead);
  await eventually(async () => {
    const { status, reasons } = await readyz('control');
    expect(reasons.join()).toContain('the stored assignment is unavailable');
    expect(status).toBe(200);
    expect((await controlApi(cluster.controlUrl).cluster()).leader).toBe('');
  }, RECOVERY_MS_MAX);
  await expectAll(others, 'three', 'WRITTEN');
  for (const device of allDevices()) expect(device.connectedTo).toBeDefined();
  for (const name of cluster.names) {
    await eventually(async () => expect((await readyz(name)).status).toBe(200));
  }
  // A device that connects meanwhile is served, and its edge keeps the shard.
  const late = siblingOf(others[0]!.clientId);
  const latecomer = new Device(late, `${cluster.routerUrl}/connect?clientId=${late}`);
  await eventually(() => latecomer.connectedTo !== undefined, RECOVERY_MS_MAX);
  await latecomer.close();

  await redis.restartNode(dead);
  await eventually(
    async () => (await controlApi(cluster.controlUrl).cluster()).leader !== '',
    RECOVERY_MS_MAX,
  );
  await untilRecovered();
});

/** Another client of the same shard. */
function siblingOf(clientId: string): string {
  const shard = shardOf(clientId, SHARDS);
  for (let i = 0; ; i++) if (shardOf(`late-${i}`, SHARDS) === shard) return `late-${i}`;
}

function pushMany(clientIds: string[]): Promise<PushManyResponse> {
  const request = PushManyRequest.fromPartial({ clientIds, payload: Buffer.from('x'), ttlMs: 0 });
  return new Promise((resolve, reject) =>
    backend.pushMany(request, (error, response) => (error ? reject(error) : resolve(response))),
  );
}

function broadcast(): Promise<BroadcastResponse> {
  const request = BroadcastRequest.fromPartial({
    payload: Buffer.from('x'),
    clientsPerSecond: 100_000,
  });
  return new Promise((resolve, reject) =>
    backend.broadcast(request, (error, response) => (error ? reject(error) : resolve(response))),
  );
}

async function pushOutcomeText(device: Device): Promise<{ outcome: string }> {
  try {
    const { verdict } = await pushes.push(device.clientId, 'lost', { ttlMs: TTL_MS });
    return { outcome: verdict };
  } catch (error) {
    return { outcome: (error as ServiceError).details };
  }
}
