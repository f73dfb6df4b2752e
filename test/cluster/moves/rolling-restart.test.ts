/**
 * Goal: a rolling update is transparent to backends and devices: every edge in turn receives
 * SIGTERM, drains, exits and is restarted, and no durable push is lost, duplicated or reordered.
 * Method: processes on a real Redis with continuous pushes; the next edge receives SIGTERM when the
 * previous one owns shards again. `npm run bench:rebalance -- --rolling` does the same with
 * thousands of clients.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { DeviceGroup } from '../../support/devices/device-group.js';
import { eventually } from '../../support/eventually.js';

const EDGES = ['edge-1', 'edge-2', 'edge-3'];
const DEVICES_PER_EDGE = 10;
const PAUSE_MS = 200;

let running: RunningCluster;
let group: DeviceGroup;

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: EDGES.length,
    // So few that an edge is drained in one round of moves, each of which takes more than ten
    // seconds.
    env: { LONGLINE_SHARD_COUNT: '64' },
  });
  group = await DeviceGroup.connect(running, EDGES, DEVICES_PER_EDGE);
});

afterAll(async () => {
  await group?.close();
  await running?.stop();
});

test('every edge restarts in turn, and no device misses a push', async () => {
  const pids = EDGES.map((name) => running.cluster.pid(name));
  let isOver = false;
  const pushing = (async () => {
    while (!isOver) {
      await group.push({ waitMs: PAUSE_MS });
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  })();
  try {
    for (const name of EDGES) {
      await running.cluster.kill(name, 'SIGTERM');
      await running.cluster.startAgain(name);
      await running.untilReady();
      await eventually(async () => {
        const owned = (await running.shards()).filter(({ owner }) => owner === name).length;
        return owned > 0;
      }, 100_000);
    }
  } finally {
    isOver = true;
    await pushing;
  }
  for (const [index, name] of EDGES.entries()) {
    expect(running.cluster.pid(name)).not.toBe(pids[index]);
  }
  await group.untilAllReceived();
  expect(group.devices.filter((device) => device.has('reset'))).toEqual([]);
});
