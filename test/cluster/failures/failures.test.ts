/**
 * Goal: when any single process of a cluster crashes, devices are served again without an operator,
 * and no durable push is lost or reordered. Method: processes on a real Redis, killed with SIGKILL;
 * devices that reconnect with the newest id that they received. Pushes continue throughout, and in
 * the end every device must have received all accepted pushes in order.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { startRedis } from '../../../cli/local/redis.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { LIVE, pushRequest, verdictName } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { Device } from '../../support/devices/device.js';
import { eventually } from '../../support/eventually.js';

/** Below the lease of 10 s: the shards of a crashed edge are placed at once. */
const RECOVERY_MS_MAX = 8_000;

const ACCEPTED_OR_UNKNOWN = ['WRITTEN', 'STORED', 'DUPLICATE', 'UNKNOWN'];

let running: RunningCluster;
const devices: Device[] = [];

afterEach(async () => {
  await Promise.all(devices.splice(0).map((device) => device.close()));
});

function addDevice(clientId: string, connectUrl = running.connectUrl(clientId)): Device {
  const device = new Device(clientId, connectUrl);
  devices.push(device);
  return device;
}

function untilConnected(): Promise<boolean> {
  return eventually(() => devices.every((device) => device.connectedTo !== undefined));
}

/** Durable pushes to all devices, one payload at a time: each is accepted before the next. */
class Rounds {
  /** Payloads that every device must receive. */
  readonly sent: string[] = [];
  readonly #name = randomUUID();

  async push(): Promise<void> {
    const payload = `round ${this.sent.length}`;
    // Like a backend after UNKNOWN: retries with the same idempotency key.
    let pending = [...devices];
    while (pending.length > 0) {
      const outcomes = await this.#pushTo(pending, payload);
      for (const outcome of outcomes) expect(ACCEPTED_OR_UNKNOWN).toContain(outcome);
      pending = pending.filter((_, i) => outcomes[i] === 'UNKNOWN');
    }
    this.sent.push(payload);
  }

  /** Verdict or error code for each of `receivers`. */
  async #pushTo(receivers: readonly Device[], payload: string): Promise<(string | undefined)[]> {
    const items = receivers.map(({ clientId }, i) => ({
      correlationId: `${i + 1}`,
      push: pushRequest(clientId, payload, {
        // Short, because a dead edge does not reply.
        waitMs: 400,
        ttlMs: 120_000,
        idempotencyKey: `${clientId}: ${this.#name}: ${payload}`,
      }),
    }));
    const results = await running.push.stream([items]);
    expect(results).toHaveLength(receivers.length);
    results.sort((a, b) => Number(a.correlationId) - Number(b.correlationId));
    return results.map(({ outcome }) =>
      outcome?.$case === 'push' ? verdictName(outcome.value.verdict) : outcome?.value.code,
    );
  }

  async untilAllReceived(): Promise<void> {
    await eventually(() => {
      const incomplete = devices.filter(({ received }) => received.length < this.sent.length);
      if (incomplete.length === 0) return true;
      throw new Error(
        incomplete.map((device) => `${device.clientId}: ${device.received.length}`).join(', '),
      );
    });
    for (const device of devices) {
      expect({ [device.clientId]: device.received }).toEqual({ [device.clientId]: this.sent });
    }
  }
}

describe('with control and three edges, without restarts', () => {
  beforeAll(async () => {
    running = await RunningCluster.start({ edges: 3, restart: false });
  });

  afterAll(() => running?.stop());

  test.each(['edge', 'router', 'control'])(
    'a %s with another shard count exits with one line',
    async (role) => {
      const exited = await startWithOtherShardCount(role);
      expect(exited.code).toBe(78);
      expect(exited.errors).toMatch(/^.*\b1024\b.*\b4096\b.*\n$/);
    },
  );

  test('while control is down an edge restarts, clients connect and reconnect, pushes arrive', async () => {
    const before = await running.shards();
    for (const edgeId of ['edge-1', 'edge-2', 'edge-3']) {
      for (const clientId of await running.clientIdsOf(edgeId, 5)) addDevice(clientId);
    }
    const newcomers = await running.clientIdsOf('edge-1', 3, 'newcomer');
    await untilConnected();
    const rounds = new Rounds();
    await rounds.push();

    await running.cluster.kill('control');
    await rounds.push();
    await running.cluster.kill('edge-1');
    await rounds.push();
    await running.cluster.startAgain('edge-1');
    await eventually(() => running.isReady('edge-1'));
    await untilConnected();
    await rounds.push();
    await rounds.untilAllReceived();
    expect(running.cluster.pid('control')).toBeUndefined();
    for (const clientId of newcomers) {
      const device = addDevice(clientId);
      await eventually(() => device.connectedTo !== undefined);
      expect((await running.push.push(clientId, 'welcome', LIVE)).verdict).toBe('WRITTEN');
      await eventually(() => device.received.includes('welcome'));
    }
    for (const device of devices) {
      const { verdict } = await running.push.push(device.clientId, 'live', LIVE);
      expect([device.clientId, verdict]).toEqual([device.clientId, 'WRITTEN']);
    }

    await running.cluster.startAgain('control');
    await running.untilReady();
    // The same owners: control has restored the assignment instead of planning a new one.
    expect(await running.shards()).toMatchObject(before.map(({ owner }) => ({ owner })));
  });

  test('a stopped edge, which is silent and whose port is not closed, keeps its shards', async () => {
    const owners = async () => (await running.shards()).map(({ owner }) => owner);
    const before = await owners();
    const pid = running.cluster.pid('edge-2')!;
    process.kill(pid, 'SIGSTOP');
    try {
      const { url } = await running.lookUp((await running.clientIdsOf('edge-2', 1))[0]!);
      expect(new URL(url).origin).toBe(running.cluster.edgeUrl('edge-2'));
      await sleep(3_000);
      expect(await owners()).toEqual(before);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await running.untilReady();
  });

  test('without control, the devices of a crashed edge are guests of other edges', async () => {
    const [atRouter, atFront] = (await running.clientIdsOf('edge-3', 2)) as [string, string];
    await running.cluster.kill('control');
    await running.cluster.kill('edge-3');
    addDevice(atRouter);
    addDevice(atFront, `${running.cluster.frontUrl()}/connect?clientId=${atFront}`);
    await untilConnected();
    for (const { clientId } of devices) {
      const { verdict } = await running.push.push(clientId, 'to a guest', LIVE);
      expect(verdict).toBe('WRITTEN');
      const { connections } = await running.push.presence(clientId);
      expect(connections).toMatchObject([{ guest: true }]);
    }
    const counter = 'longline_router_lookups_guest_total';
    expect(await running.metric('router', counter)).toBeGreaterThan(0);
    await running.cluster.startAgain('control');
    await running.cluster.startAgain('edge-3');
    await running.untilReady();
  });

  test('the clients of a crashed edge are served by the others before its lease ends, nothing is lost', async () => {
    // Moves would reconnect clients of the surviving edges.
    await running.stopMoves();
    for (let i = 0; i < 300; i++) addDevice(`device-${i}`);
    await untilConnected();
    // Edges of earlier tests may not have their share again.
    const clientsOf = (name: string) =>
      devices.filter((device) => device.connectedTo === running.cluster.edgeUrl(name));
    const victims = ['edge-1', 'edge-2', 'edge-3'];
    const victim = victims.sort((a, b) => clientsOf(b).length - clientsOf(a).length)[0]!;
    const orphans = clientsOf(victim);
    expect(orphans.length).toBeGreaterThan(50);
    const rounds = new Rounds();
    for (let i = 0; i < 3; i++) await rounds.push();

    await running.cluster.kill(victim);
    const killedAtMs = performance.now();
    let isRecovered = false;
    while (!isRecovered) {
      await rounds.push();
      const leftMs = RECOVERY_MS_MAX - (performance.now() - killedAtMs);
      if (leftMs <= 0) break;
      const last = rounds.sent.at(-1);
      isRecovered = await eventually(
        () =>
          devices.every(
            (device) => device.connectedTo !== undefined && device.received.at(-1) === last,
          ),
        Math.min(leftMs, 250),
      ).catch(() => false);
    }
    const elapsedMs = Math.round(performance.now() - killedAtMs);
    console.log(
      `all ${devices.length} clients receive pushes ${elapsedMs} ms after the crash of the edge of ` +
        `${orphans.length} clients; ${rounds.sent.length} rounds`,
    );
    expect(isRecovered).toBe(true);
    expect(elapsedMs).toBeLessThanOrEqual(RECOVERY_MS_MAX);
    expect(clientsOf(victim)).toEqual([]);

    await rounds.push();
    await rounds.untilAllReceived();
    expect(devices.filter((device) => device.has('reset'))).toEqual([]);
    // Clients of other edges were not affected.
    const others = devices.filter((device) => !orphans.includes(device));
    expect(others.filter((device) => device.connections > 1)).toEqual([]);
    expect(others.filter((device) => device.events.length > rounds.sent.length)).toEqual([]);
    await running.untilReady();
  });
});

describe('with restarts', () => {
  beforeAll(async () => {
    // Moves of fewer shards are over sooner.
    const env = { LONGLINE_SHARD_COUNT: '64' };
    running = await RunningCluster.start({ edges: 2, restart: true, env });
  });

  afterAll(() => running?.stop());

  test('an edge that crashes and restarts gets its share again, and nothing is lost', async () => {
    for (const clientId of await running.clientIdsOf('edge-1', 10)) {
      // Like a browser, which reconnects to the URL of its first redirect.
      addDevice(clientId, (await running.lookUp(clientId)).url);
    }
    await untilConnected();
    const rounds = new Rounds();
    await rounds.push();
    const pid = running.cluster.pid('edge-1');
    await running.cluster.kill('edge-1');
    await rounds.push();
    await eventually(() => devices.every((device) => device.connections >= 2));
    await untilConnected();
    await rounds.push();
    expect(running.cluster.pid('edge-1')).not.toBe(pid);
    await eventually(async () => {
      const shards = await running.shards();
      return shards.filter(({ owner }) => owner === 'edge-1').length > shards.length / 8;
    }, 100_000);
    await rounds.push();
    await rounds.untilAllReceived();
    // Later moves would reconnect the devices of the next test.
    await eventually(async () => {
      const { pending, inFlight } = await running.moves();
      return pending === 0 && inFlight.length === 0;
    }, 100_000);
  });

  test('when Redis restarts empty, every role reports it and recovers without a restart', async () => {
    const { cluster } = running;
    const clientIds = [
      ...(await running.clientIdsOf('edge-1', 3, 'redis')),
      ...(await running.clientIdsOf('edge-2', 3, 'redis')),
    ];
    for (const clientId of clientIds) addDevice(clientId);
    await untilConnected();
    const rounds = new Rounds();
    await rounds.push();
    await rounds.untilAllReceived();
    const pids = cluster.names.map((name) => cluster.pid(name));
    const { position } = await running.view();

    await running.redis.kill('SIGKILL');
    for (const name of cluster.names) {
      await eventually(async () => !(await running.isReady(name)));
    }
    for (const options of [LIVE, {}]) {
      await expect(running.push.push(clientIds[0]!, 'rejected', options)).rejects.toMatchObject({
        code: status.UNAVAILABLE,
        details: expect.stringContaining('REDIS_UNAVAILABLE'),
      });
    }

    running.redis = await startRedis({ port: running.redis.port });
    await running.untilReady();
    // No client was disconnected, and no process restarted.
    expect(cluster.names.map((name) => cluster.pid(name))).toEqual(pids);
    expect(devices.every((device) => device.connections === 1)).toBe(true);
    for (const clientId of clientIds) {
      const { verdict } = await running.push.push(clientId, 'live again', LIVE);
      expect([clientId, verdict]).toEqual([clientId, 'WRITTEN']);
    }
    await running.untilCaughtUp();
    for (const device of devices) {
      const { verdict } = await running.push.push(device.clientId, 'and durable');
      // STORED while the edge reads the inbox once more, because history was lost.
      expect(['WRITTEN', 'STORED']).toContain(verdict);
      await eventually(() => device.received.at(-1) === 'and durable');
      expect(device.received).toEqual([...rounds.sent, 'live again', 'and durable']);
    }
    // The old history is lost, so the new incarnation supersedes every earlier assignment.
    // Live pushes go on before control leads again and writes it.
    await eventually(async () => {
      const view = await running.view();
      expect(view.position.incarnation).toBeGreaterThan(position.incarnation);
    });
  });

  test('a router tells of the pushes that were lost together with every edge that knew them', async () => {
    const { cluster } = running;
    const clientId = await running.clientIdOf('edge-1', 'forgotten');
    expect((await running.push.push(clientId, 'lost')).verdict).toBe('STORED');
    await running.redis.kill('SIGKILL');
    await Promise.all(['edge-1', 'edge-2'].map((name) => cluster.kill(name)));
    running.redis = await startRedis({ port: running.redis.port });
    await running.untilReady();
    const device = addDevice(clientId);
    await eventually(() => device.has('reset'));
    expect(await running.metric('router', 'longline_router_history_losses_total')).toBeGreaterThan(
      0,
    );
  });

  test('the cluster settings are stored again in a Redis that restarted empty', async () => {
    // Otherwise a misconfigured process could join and map clients to other shards.
    await eventually(async () => (await startWithOtherShardCount('router')).code === 78, 40_000);
  });
});

test('a process with invalid settings reports all problems at once and exits with 78', async () => {
  const exited = await run('edge', {
    LONGLINE_REDIS_URL: 'http://example',
    LONGLINE_SHARD_COUNT: '1000',
    LONGLINE_EDGE_ID: 'a b',
    LONGLINE_EDGE_PORT: '70000',
    LONGLINE_EDGE_HEAD_TIMEOUT: '5',
    LONGLINE_NONSENSE: '1',
    // A setting of another role is ignored.
    LONGLINE_ROUTER_WAIT_MS: '1',
  });
  expect(exited.code).toBe(78);
  const problems = exited.errors.trim().split('\n');
  for (const name of [
    'LONGLINE_REDIS_URL',
    'LONGLINE_SHARD_COUNT',
    'LONGLINE_AUTH',
    'LONGLINE_CONTROL_ADDRESS',
    'LONGLINE_EDGE_ID',
    'LONGLINE_EDGE_PORT',
    'LONGLINE_EDGE_HEAD_TIMEOUT',
    'LONGLINE_NONSENSE',
  ]) {
    expect(problems.filter((line) => line.trim().startsWith(`${name}: `))).toHaveLength(1);
  }
  expect(problems[0]).toContain('8 problem(s)');
  expect(problems).toHaveLength(9);
  expect(exited.errors).not.toContain('    at ');
});

/** Starts a role with another number of shards than the running cluster. */
function startWithOtherShardCount(role: string) {
  return run(role, {
    LONGLINE_AUTH: 'none',
    LONGLINE_REDIS_URL: running.redis.url,
    LONGLINE_CONTROL_ADDRESS: 'localhost:1',
    LONGLINE_EDGE_ID: 'stranger',
    LONGLINE_SHARD_COUNT: '1024',
  });
}

/** Runs a role that is expected to exit; kills it if it does not. */
async function run(role: string, env: NodeJS.ProcessEnv) {
  const script = join(packageRoot, 'dist', role, 'main.js');
  const child = spawn(process.execPath, [script], {
    env: {
      PATH: process.env.PATH,
      // A role listens before it asks Redis, and something else may have the default ports.
      LONGLINE_EDGE_ADMIN_PORT: '0',
      LONGLINE_ROUTER_HTTP_PORT: '0',
      LONGLINE_CONTROL_HTTP_PORT: '0',
      ...env,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const giveUp = setTimeout(() => child.kill('SIGKILL'), 60_000);
  const [errors, [code]] = await Promise.all([text(child.stderr), once(child, 'close')]);
  clearTimeout(giveUp);
  return { code: code as number | null, errors };
}
