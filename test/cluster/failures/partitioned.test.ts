/**
 * Goal: control distinguishes an edge that cannot deliver from an unreliable network. It drains the
 * edge in the first case and moves nothing in the second. Method: processes on a real Redis. Most
 * edges are stopped for longer than a lease, with their connections open; then one edge is
 * partitioned from Redis only, by a proxy. Devices reconnect when their connection ends; in the end
 * each must have received all accepted pushes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { shardOf } from '../../../common/cluster/shard.js';
import { killConnectionsAt } from '../../../drill/faults/redis-fixture.js';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { Device } from '../../support/devices/device.js';
import { DeviceGroup } from '../../support/devices/device-group.js';
import { eventually } from '../../support/eventually.js';

const LEASE_MS = 10_000;
const EDGES = ['edge-1', 'edge-2', 'edge-3'];
const PARTITIONED = 'edge-3';
const DEVICES_PER_EDGE = 8;
const TTL_MS = 300_000;
const GUESTS = 8;

let running: RunningCluster;
let group: DeviceGroup;

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: EDGES.length,
    // Moves of fewer shards are over sooner.
    env: { LONGLINE_SHARD_COUNT: '64', LONGLINE_CONTROL_LEASE_MS: `${LEASE_MS}` },
    behindProxy: PARTITIONED,
  });
  group = await DeviceGroup.connect(running, EDGES, DEVICES_PER_EDGE);
});

afterAll(async () => {
  await group?.close();
  await running?.stop();
});

const pushToAll = () => group.push({ ttlMs: TTL_MS, waitMs: 100 });

async function eventTypes(): Promise<string[]> {
  return (await running.events()).map(({ type }) => type);
}

async function shardsOf(edgeId: string): Promise<number> {
  return (await running.shards()).filter(({ owner }) => owner === edgeId).length;
}

function isPartitioned(url: string | undefined): boolean {
  return url === running.cluster.edgeUrl(PARTITIONED);
}

/** Verdicts of live pushes to a device that was connected to the partitioned edge all the time. */
async function livePushesTo(device: Device): Promise<Set<string>> {
  const verdicts = new Set<string>();
  while (isPartitioned(device.connectedTo)) {
    const { verdict } = await running.push.push(device.clientId, 'live', { ...LIVE, waitMs: 200 });
    if (isPartitioned(device.connectedTo)) verdicts.add(verdict);
    await sleep(100);
  }
  return verdicts;
}

test('when most edges are silent at once, control freezes and moves nothing', async () => {
  const before = (await running.events()).length;
  const eventsSince = async () =>
    (await running.events()).slice(before).filter(({ type }) => !/^(un)?frozen$/.test(type));
  const pids = ['edge-1', 'edge-2'].map((name) => running.cluster.pid(name)!);
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  try {
    await eventually(async () => (await eventTypes()).includes('frozen'));
    // The sessions are ended when the leases are over; the shards stay.
    await eventually(async () => {
      const states = (await running.edges()).map(({ state }) => state);
      return states.filter((state) => state === 'suspect').length === 2;
    });
    await pushToAll();
    expect(await eventsSince()).toEqual([]);
  } finally {
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  }
  await eventually(async () => (await eventTypes()).includes('unfrozen'));
  await running.untilReady();
  await group.untilAllReceived();
  expect(await eventsSince()).toEqual([]);
  expect(group.devices.every(({ connections }) => connections === 1)).toBe(true);
});

test('an edge that is partitioned from Redis only is drained, and no durable push is lost', async () => {
  const { cluster, proxy } = running;
  const pid = cluster.pid(PARTITIONED);
  const clientId = await running.clientIdOf(PARTITIONED, 'watched');
  const watched = new Device(clientId, running.connectUrl(clientId));
  await eventually(() => isPartitioned(watched.connectedTo), 20_000);
  proxy.partition();
  const verdicts = livePushesTo(watched);
  await eventually(async () => !(await running.isReady(PARTITIONED)));
  await pushToAll();
  await eventually(async () => (await eventTypes()).includes('edge-partitioned'), 3 * LEASE_MS);
  await eventually(async () => {
    await pushToAll();
    return group.devices.every(
      ({ connectedTo }) => connectedTo !== undefined && !isPartitioned(connectedTo),
    );
  }, 100_000);
  await group.untilAllReceived();
  // Its shard has another owner, which does not have the device, while the device is still
  // connected.
  expect([...(await verdicts)]).toEqual(['UNKNOWN']);
  await watched.close();
  await eventually(async () => (await shardsOf(PARTITIONED)) === 0, 100_000);
  // The edge was not restarted, and no operator drained it.
  expect(cluster.pid(PARTITIONED)).toBe(pid);
  expect((await running.edges()).map(({ intent }) => intent)).toEqual(['none', 'none', 'none']);

  proxy.resume();
  await eventually(async () => (await eventTypes()).includes('edge-recovered'));
  await eventually(() => running.isReady(PARTITIONED));
  await pushToAll();
  await group.untilAllReceived();
});

test('guests of an edge that hears nothing are not OFFLINE while their shards get another owner', async () => {
  const { cluster, proxy } = running;
  const clientIds = await running.clientIdsOf('edge-1', GUESTS, 'guest');
  const ownersOf = async () => {
    const shards = await running.shards();
    return clientIds.map((clientId) => shards[shardOf(clientId, shards.length)]!.owner);
  };
  const guests = clientIds.map((clientId) => {
    // An epoch above any that the edge knows: it accepts the device until it knows the owner.
    const query = `clientId=${clientId}&epoch=999999999-0`;
    return new Device(clientId, `${cluster.edgeUrl(PARTITIONED)}/connect?${query}`);
  });
  for (const { clientId } of guests) {
    await eventually(async () => {
      expect((await running.push.push(clientId, 'live', LIVE)).verdict).toBe('WRITTEN');
      const { connections } = await running.push.presence(clientId);
      expect(connections).toMatchObject([{ guest: true }]);
    });
  }
  const pid = cluster.pid(PARTITIONED)!;
  const verdicts = new Set<string>();
  const pushToGuests = () =>
    Promise.all(
      clientIds.map(async (clientId) => {
        verdicts.add((await running.push.push(clientId, 'live', LIVE)).verdict);
      }),
    );
  process.kill(pid, 'SIGSTOP');
  proxy.partition();
  try {
    // As Redis ends a subscriber that does not read.
    await killConnectionsAt('127.0.0.1', running.redis.port, `${PARTITIONED}-subscriber`);
    await running.postToControl('/v1/edges/edge-1/drain');
    await eventually(async () => {
      await pushToGuests();
      return (await ownersOf()).includes('edge-2');
    });
    // The former owner knew of the guests; the new one has heard nothing of them.
    for (let i = 0; i < 20; i++) await pushToGuests();
    expect(guests.every(({ connectedTo }) => isPartitioned(connectedTo))).toBe(true);
    expect([...verdicts]).toEqual(['UNKNOWN']);
  } finally {
    process.kill(pid, 'SIGCONT');
    await Promise.all(guests.map((guest) => guest.close()));
  }
});
