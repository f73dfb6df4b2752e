/**
 * Goal: backends learn what happens to clients and pushes, at least once and in order per client,
 * also when edges, routers and consumers die; the programs in docs/events.md work as they are
 * written. Method: a cluster with events on and few shards; SSE devices; consumers over gRPC on two
 * routers; two webhooks, one of them to a receiver that always fails.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { freePort, LOOPBACK } from '../../../cli/local/ports.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { EventServiceClient } from '../../../proto/gen/longline/v1/events.js';
import { EventWatch, type WatchSettings } from '../../support/cluster/event-watch.js';
import { longline } from '../../support/cluster/longline-command.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { SseClient } from '../../support/devices/sse-client.js';
import {
  PYTHON,
  PYTHON_GRPC,
  PYTHON_PATH,
  testWith,
} from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';

let running: RunningCluster;
const watches: EventWatch[] = [];
const folder = mkdtempSync(join(tmpdir(), 'longline-events-'));
const programs: ChildProcess[] = [];
let receiverPort: number;
/** Counts its requests, and accepts none. */
const broken = createServer((_, response) => response.writeHead(500).end());
const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

beforeAll(async () => {
  receiverPort = await freePort();
  broken.listen(0, LOOPBACK);
  await once(broken, 'listening');
  const brokenPort = (broken.address() as AddressInfo).port;
  const webhook = (name: string, port: number, changes: object) => ({
    name,
    url: `http://127.0.0.1:${port}/hook`,
    secret: SECRET,
    ...changes,
  });
  const file = join(folder, 'webhooks.json');
  const webhooks = [
    webhook('fallback', receiverPort, { types: ['push.unread'], clientIdPrefix: 'hooked' }),
    webhook('broken', brokenPort, { types: ['client.connected'], clientIdPrefix: 'unlucky' }),
  ];
  writeFileSync(file, JSON.stringify(webhooks));
  const env = {
    LONGLINE_EVENTS: 'clients,pushes,groups',
    LONGLINE_SHARD_COUNT: '64',
    LONGLINE_ROUTER_WEBHOOKS_FILE: file,
    LONGLINE_ROUTER_WEBHOOK_NETWORKS: '127.0.0.0/8,::1',
    LONGLINE_ROUTER_WEBHOOK_RETRY_MS: '1000',
  };
  running = await RunningCluster.start({ edges: 3, routers: 2, restart: true, env });
});

afterEach(() => {
  for (const watch of watches.splice(0)) watch.close();
});

afterAll(async () => {
  for (const program of programs) program.kill();
  broken.close();
  await running?.stop();
  rmSync(folder, { recursive: true });
});

/** The Python program of docs/events.md that contains a text. */
function documented(text: string): string {
  const document = readFileSync(join(packageRoot, 'docs/events.md'), 'utf8');
  const blocks = [...document.matchAll(/```python\n(.*?)```/gs)].map(([, code]) => code!);
  return blocks.find((code) => code.includes(text))!;
}

/** Runs a Python program. Returns the lines that it prints. */
function runPython(name: string, code: string, ...args: string[]): string[] {
  const path = join(folder, name);
  writeFileSync(path, code);
  const program = spawn(PYTHON_PATH, [path, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  programs.push(program);
  const lines: string[] = [];
  createInterface({ input: program.stdout! }).on('line', (line) => lines.push(line));
  return lines;
}

function watchOn(router: string, settings: WatchSettings): EventWatch {
  const watch = new EventWatch(running.cluster.grpcAddress(router), {
    start: 'oldest',
    ...settings,
  });
  watches.push(watch);
  return watch;
}

/** A push that is due at once if its client does not confirm it. */
const NOTIFIED = { ttlMs: 600_000, notifyUnreadAfterMs: 500 };

const connect = (clientId: string, lastEventId = '') =>
  SseClient.open(`${running.connectUrl(clientId)}&lastEventId=${lastEventId}`);

test('a connection, its end and its replacement have events in order', async () => {
  const watch = watchOn('router', { group: 'order' });
  const first = await connect('ann/phone');
  const second = await connect('ann/phone');
  await first.ended;
  second.close();
  await eventually(() => {
    expect(watch.of('ann/phone')).toEqual([
      'client.connected',
      'client.disconnected session_replaced',
      'client.connected',
      'client.disconnected peer',
    ]);
  });
  const [connected] = watch.events.filter(({ clientId }) => clientId === 'ann/phone');
  expect(connected).toMatchObject({ protocol: 'sse', edgeId: expect.stringMatching(/^edge-/) });
});

test('a push is confirmed, or unread when it is due, and not both', async () => {
  const watch = watchOn('router-2', { group: 'pushes', types: ['push.confirmed', 'push.unread'] });
  const options = { ttlMs: 600_000, notifyUnreadAfterMs: 1_000 };
  const away = await running.push.push('bea', 'x', options);
  const device = await connect('cleo');
  const read = await running.push.push('cleo', 'y', { ...options, notifyUnreadAfterMs: 300_000 });
  device.close();
  (await connect('cleo', read.messageId)).close();
  await eventually(() => {
    expect(watch.of('bea')).toEqual(['push.unread']);
    expect(watch.of('cleo')).toEqual(['push.confirmed']);
  });
  const ids = watch.events.map(({ messageId }) => messageId);
  expect(ids.sort()).toEqual([away.messageId, read.messageId].sort());
  (await connect('bea', away.messageId)).close();
  await eventually(() => {
    expect(watch.of('bea')).toEqual(['push.unread', 'push.confirmed']);
  });
});

test('a push that expires, or does not fit into the inbox, says so', async () => {
  const watch = watchOn('router', { group: 'ends', clientIdPrefix: 'eve' });
  const { messageId } = await running.push.push('eve', 'x', { ttlMs: 500 });
  await eventually(() => {
    expect(watch.of('eve')).toEqual(['push.expired']);
  });
  const collapseKey = 'k';
  const replaced = await running.push.push('eve', 'y', { collapseKey });
  await running.push.push('eve', 'z', { collapseKey });
  await eventually(() => {
    expect(watch.of('eve')).toEqual(['push.expired', 'push.dropped replaced']);
  });
  expect(watch.events.map((event) => event.messageId)).toEqual([messageId, replaced.messageId]);
});

test('a client that is blocked has an event', async () => {
  const watch = watchOn('router', { group: 'blocked', types: ['client.blocked'] });
  expect((await longline(running, 'block', 'mallory', '--for', '1m')).exit).toBe(0);
  await eventually(() => {
    expect(watch.events).toMatchObject([{ clientId: 'mallory', durationMs: 60_000 }]);
  });
});

describe('a watch of presence', () => {
  const watchPresence = (...args: string[]) => {
    const path = join(packageRoot, 'dist/cli/main.js');
    const options = ['--router', running.cluster.grpcAddress('router'), '--json'];
    const program = spawn(process.execPath, [path, 'watch-presence', ...args, ...options], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    programs.push(program);
    const lines: string[] = [];
    createInterface({ input: program.stdout! }).on('line', (line) => {
      const { state, change, isComplete } = JSON.parse(line);
      if (state) lines.push(`${state.name}: ${state.clients.map(clientIdOf).join(' ')}`);
      if (change) lines.push(`${change.type} ${change.clientId}`);
      if (isComplete) lines.push('complete');
    });
    return lines;
  };
  const clientIdOf = ({ clientId }: { clientId: string }) => clientId;

  test('follows the members of a group, and a client that moves', async () => {
    const edgeId = 'edge-3';
    const clientId = await running.clientIdOf(edgeId, 'mia');
    const lines = watchPresence('--group', 'room');
    await running.push.joinGroup('room', 'noa');
    const device = await connect(clientId);
    await eventually(() => expect(lines).toContain('complete'));
    await running.push.joinGroup('room', clientId);
    await eventually(() => expect(lines.at(-1)).toBe(`${clientId}: ${clientId}`));
    expect(lines.at(-2)).toBe(`group.joined ${clientId}`);
    expect(lines).toContain('noa: ');
    await longline(running, 'drain', edgeId);
    await device.ended;
    (await connect(clientId)).close();
    const ended = [`client.moved ${clientId}`, `client.disconnected ${clientId}`];
    await eventually(() => expect(lines.slice(-2)).toEqual(ended));
    await running.push.leaveGroup('room', clientId);
    await eventually(() => expect(lines.at(-1)).toBe(`group.left ${clientId}`));
    await running.undrain(edgeId);
    await running.stopMoves();
  });

  test('of nothing, of names and a group, of too many or invalid names is rejected', async () => {
    const address = running.cluster.grpcAddress('router');
    const client = new EventServiceClient(address, credentials.createInsecure());
    const rejected = (request: { names?: string[]; group?: string }) =>
      new Promise<string>((resolve) => {
        const stream = client.watchPresence({ names: [], group: '', ...request });
        stream.on('data', () => {});
        stream.on('error', ({ details }: ServiceError) => resolve(details));
      });
    expect(await rejected({})).toContain('set either names or group');
    expect(await rejected({ names: ['a'], group: 'b' })).toContain('set either names or group');
    const names = Array.from({ length: 1_001 }, (_, i) => `name-${i}`);
    expect(await rejected({ names })).toContain('names has 1001; the maximum is 1000');
    expect(await rejected({ names: [''] })).toContain('CLIENT_ID_INVALID');
    expect(await rejected({ group: 'a#' })).toContain('GROUP_INVALID');
    const members = Array.from({ length: 10_000 }, (_, i) => `member-${i}`);
    await running.push.joinGroup('crowd', 'one', ...members.slice(1));
    await running.push.joinGroup('crowd', ...members.slice(0, 1));
    expect(await rejected({ group: 'crowd' })).toContain('GROUP_TOO_LARGE');
    client.close();
  });
});

test('an MQTT device confirms by its acknowledgement', async () => {
  const watch = watchOn('router', { group: 'mqtt', clientIdPrefix: 'dora' });
  const { url } = await running.lookUp('dora');
  const device = await MqttDevice.connect(Number(new URL(url).port), 'dora');
  await device.subscribe('push/dora', 1);
  const { messageId } = await running.push.push('dora', 'x');
  await eventually(() => {
    expect(watch.of('dora')).toEqual(['client.connected', 'push.confirmed']);
  });
  expect(watch.events.at(-1)).toMatchObject({ clientId: 'dora', messageId });
  await device.close();
});

test('consumers of a group share the events; what one has not acknowledged another gets', async () => {
  const silent = watchOn('router', {
    group: 'shared',
    consumer: 'silent',
    acks: false,
    start: 'now',
  });
  await eventually(async () => {
    expect(await running.metric('router', 'longline_router_event_watches')).toBeGreaterThan(0);
  });
  const clientIds = Array.from({ length: 40 }, (_, i) => `shared-${i}`);
  const connectAll = async () => {
    for (const clientId of clientIds) (await connect(clientId)).close();
  };
  const missing = (watch: EventWatch) =>
    clientIds.filter((clientId) => !watch.of(clientId).includes('client.connected'));
  await eventually(async () => {
    await connectAll();
    return silent.events.length > 0;
  });
  const other = watchOn('router-2', { group: 'shared', consumer: 'other' });
  // It gets the partitions first in which nothing is in flight.
  await eventually(async () => {
    await connectAll();
    return other.events.length > 0;
  });
  silent.close();
  await eventually(() => expect(missing(other)).toEqual([]));
  // All was acknowledged: a third one gets nothing of it.
  const count = other.events.length;
  expect(count).toBeGreaterThanOrEqual(clientIds.length);
});

test('a newer consumer of the same name replaces the older one', async () => {
  const older = watchOn('router', { group: 'names', consumer: 'one' });
  await eventually(() => older.events.length > 0);
  const newer = watchOn('router-2', { group: 'names', consumer: 'one' });
  expect(await older.ended).toMatchObject({
    code: status.ABORTED,
    details: expect.stringContaining('CONSUMER_REPLACED'),
  });
  (await connect('fay')).close();
  await eventually(() => newer.of('fay').length > 0);
});

test.each([
  [{ group: '' }, 'group must be'],
  [{ group: 'a b' }, 'group must be'],
  [{ group: 'webhook.x' }, 'the group of a webhook'],
  [{ group: 'bad', consumer: 'x'.repeat(65) }, 'consumer must be'],
  [{ group: 'bad', start: 'yesterday' }, 'start is'],
  [{ group: 'bad', selector: 'a=(' }, 'SELECTOR_INVALID'],
])('the watch %j is rejected', async (settings, text) => {
  const watch = watchOn('router', settings);
  expect(await watch.ended).toMatchObject({
    code: status.INVALID_ARGUMENT,
    details: expect.stringContaining(text),
  });
});

test('a push that would be notified after its TTL is rejected', async () => {
  const options = { ttlMs: 1_000, notifyUnreadAfterMs: 1_001 };
  await expect(running.push.push('gus', 'x', options)).rejects.toMatchObject({
    code: status.INVALID_ARGUMENT,
    details: expect.stringContaining('the maximum is the TTL, 1000 ms'),
  });
});

testWith(PYTHON)(
  'a push to a device that is away calls the fallback once, by webhook',
  async () => {
    const code = documented('class Receiver');
    const lines = runPython('receiver.py', code, `${receiverPort}`, SECRET);
    const { messageId } = await running.push.push('hooked-away', 'x', NOTIFIED);
    await eventually(() => {
      expect(lines).toEqual([`fallback hooked-away ${messageId}`]);
    });
  },
);

testWith(PYTHON_GRPC)(
  'a push to a device that is away calls the fallback once, over gRPC, also if the router dies',
  async () => {
    const plugin = execFileSync('sh', ['-c', 'command -v grpc_python_plugin'], {
      encoding: 'utf8',
    });
    execFileSync('protoc', [
      ...['-I', join(packageRoot, 'proto'), `--plugin=protoc-gen-grpc=${plugin.trim()}`],
      ...[`--python_out=${folder}`, `--grpc_out=${folder}`, 'longline/v1/events.proto'],
    ]);
    const address = running.cluster.grpcAddress('router-2');
    const lines = runPython('consumer.py', documented('def watch('), address);
    const ids: string[] = [];
    const push = async (clientId: string) => {
      ids.push(
        `fallback ${clientId} ${(await running.push.push(clientId, 'x', NOTIFIED)).messageId}`,
      );
    };
    await eventually(async () => {
      await push('away');
      return lines.length > 0;
    });
    await running.cluster.kill('router-2');
    await push('away-2');
    await eventually(() => expect(lines).toContain(ids.at(-1)), 60_000);
    expect(new Set(lines).size).toBe(lines.length);
  },
);

test('what a webhook never accepts becomes dead letters, and later events are tried', async () => {
  for (const clientId of ['unlucky-1', 'unlucky-1']) (await connect(clientId)).close();
  await eventually(async () => {
    const { stdout } = await longline(running, 'dead-letters', 'broken', '--json');
    const { letters } = JSON.parse(stdout);
    expect(letters).toHaveLength(2);
    expect(letters[0].reason).toBe('status 500');
    expect(JSON.parse(letters[0].event)).toMatchObject({
      type: 'io.longline.client.connected',
      subject: 'unlucky-1',
    });
  });
});

test('the clients of a killed edge that do not return are disconnected', async () => {
  const edgeId = 'edge-2';
  const [gone, back] = (await running.clientIdsOf(edgeId, 2, 'hal')) as [string, string];
  const watch = watchOn('router', { group: 'killed', clientIdPrefix: 'hal' });
  const devices = await Promise.all([connect(gone), connect(back)]);
  await eventually(() => expect(watch.of(gone)).toEqual(['client.connected']));
  await running.cluster.kill(edgeId);
  await Promise.all(devices.map((device) => device.ended));
  await eventually(async () => void (await connect(back)));
  await eventually(() => {
    expect(watch.of(gone)).toEqual(['client.connected', 'client.disconnected edge_lost']);
    const end = expect.stringMatching(/^client.disconnected (session_replaced|edge_lost)$/);
    // Later, a move may end the new connection, too.
    expect(watch.of(back).slice(0, 3)).toEqual(['client.connected', end, 'client.connected']);
  }, 60_000);
});
