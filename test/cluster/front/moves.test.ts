/**
 * Goal: devices that connect to fronts are no guests and miss nothing when edges are drained or
 * killed and routers restart, and every shard keeps one subscriber. Method: processes on a real
 * Redis; two routers, both with a front; devices with two protocols that connect only to a front.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { Device } from '../../support/devices/device.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { eventually } from '../../support/eventually.js';

const ROUTERS = ['router', 'router-2'];
const COUNT = 150;
const MQTT_COUNT = 12;

let running: RunningCluster;
let devices: Device[] = [];
let mqttDevices: MqttDevice[] = [];

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: 3,
    routers: 2,
    restart: false,
    // Moves of fewer shards are over sooner.
    env: { LONGLINE_SHARD_COUNT: '64', LONGLINE_ROUTER_FRONT_DRAIN_MS: '1500' },
  });
});

afterAll(async () => {
  await Promise.all([...devices, ...mqttDevices].map((device) => device.close()));
  await running?.stop();
});

const frontUrl = (i: number) => running.cluster.frontUrl(ROUTERS[i % 2]);

function connectSse(count: number): Device[] {
  return Array.from({ length: count }, (_, i) => {
    const clientId = `many-${i}`;
    return new Device(clientId, `${frontUrl(i)}/connect?clientId=${clientId}`);
  });
}

const untilConnected = () =>
  eventually(() => devices.every((device) => device.connectedTo !== undefined));

/** MQTT clients with a persistent session, one address and automatic reconnects. */
async function connectMqtt(count: number): Promise<MqttDevice[]> {
  const connected: MqttDevice[] = [];
  for (let i = 0; i < count; i++) {
    const port = Number(new URL(frontUrl(i)).port);
    const options = { clean: false, reconnectPeriod: 500 };
    const device = await MqttDevice.connect(port, `mqtt-many-${i}`, options);
    await device.subscribe(`push/mqtt-many-${i}`);
    connected.push(device);
  }
  return connected;
}

async function pushToAll(payload: string): Promise<void> {
  for (const clientId of [
    ...devices.map((device) => device.clientId),
    ...mqttDevices.map((_, i) => `mqtt-many-${i}`),
  ]) {
    await running.push.push(clientId, payload, { ttlMs: 120_000, waitMs: 300 });
  }
}

async function untilReceived(expected: string[]): Promise<void> {
  await eventually(() => {
    for (const device of devices) {
      expect({ [device.clientId]: device.received }).toEqual({ [device.clientId]: expected });
    }
    // At least once: a push whose PUBACK was lost with its edge is sent again.
    for (const { payloads } of mqttDevices) expect([...new Set(payloads)]).toEqual(expected);
  });
}

/** Resolves when there are no guests and every shard has one subscriber. */
async function untilConverged(): Promise<void> {
  const shards = await running.shards();
  const redis = new Redis(running.redis.url);
  try {
    const channels = shards.map(({ channel }) => channel);
    await eventually(async () => {
      expect((await running.view()).guests).toBe(0);
      const counts = (await redis.call('PUBSUB', 'SHARDNUMSUB', ...channels)) as unknown[];
      const subscribers = counts.filter((_, i) => i % 2 === 1).map(Number);
      expect(subscribers.filter((count) => count !== 1)).toEqual([]);
    });
  } finally {
    redis.disconnect();
  }
}

test('no device is a guest or misses a push during a drain, a crash and a router restart', async () => {
  devices = connectSse(COUNT);
  mqttDevices = await connectMqtt(MQTT_COUNT);
  await untilConnected();
  await untilConverged();
  await pushToAll('at first');
  await untilReceived(['at first']);

  // A drained edge sends its devices a GOAWAY without a URL, and they reconnect to their front.
  await running.postToControl('/v1/edges/edge-3/drain');
  await pushToAll('while one is drained');
  await eventually(async () => {
    const edge = (await running.edges()).find(({ id }) => id === 'edge-3')!;
    expect([edge.shardsOwned, edge.connections]).toEqual([0, 0]);
  }, 100_000);
  await untilConnected();
  await untilReceived(['at first', 'while one is drained']);
  const goaways = devices.flatMap(({ events }) => events.filter(({ event }) => event === 'goaway'));
  expect(goaways.length).toBeGreaterThan(10);
  expect(new Set(goaways.map(({ data }) => data))).toEqual(new Set(['{}']));
  await untilConverged();

  // The connections of a crashed edge end, and its devices are served when its shards have an
  // owner.
  await running.cluster.kill('edge-2');
  await pushToAll('while one is dead');
  await untilConnected();
  await untilReceived(['at first', 'while one is drained', 'while one is dead']);
  await untilConverged();

  // A router that shuts down disconnects its devices over 1.5 s and exits.
  const before = devices.filter((_, i) => i % 2 === 1).map(({ connections }) => connections);
  const sinceMs = performance.now();
  await running.cluster.kill('router-2', 'SIGTERM');
  const tookMs = performance.now() - sinceMs;
  expect(tookMs).toBeGreaterThan(1_000);
  expect(tookMs).toBeLessThan(8_000);
  await pushToAll('while a router is away');
  await running.cluster.startAgain('router-2');
  await untilConnected();
  await untilReceived([
    'at first',
    'while one is drained',
    'while one is dead',
    'while a router is away',
  ]);
  const after = devices.filter((_, i) => i % 2 === 1).map(({ connections }) => connections);
  expect(after).toEqual(before.map((count) => count + 1));
  await untilConverged();
});
