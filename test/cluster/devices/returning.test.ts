/**
 * Goal: no client reconnects in a loop because of the cluster. A client that knows only the address
 * of a draining edge receives one GOAWAY and is then served, and the drain names the clients; at
 * the deadline, and during a shutdown, it is rejected before it has a session. A push that a client
 * library cannot receive is skipped, and later ones arrive. A client that loops anyway is named.
 * Method: three edges, and client libraries that were written by others.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { connect as connectMqtt, type IClientOptions } from 'mqtt';
import { WebSocket } from 'ws';
import { controlApi } from '../../../cli/control/api.js';
import { WaitFor } from '../../../proto/gen/longline/v1/push.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { connect as connectPacket } from '../../support/devices/mqtt-bytes.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { eventually } from '../../support/eventually.js';
import { deviceScheme, TLS_RUN } from '../../support/tls/tls-run.js';

const UPGRADE =
  'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const RECONNECT_MS = 200;

/** A client that reconnects to one address for as long as it is open. */
interface Returning {
  /** Connections on which the client was accepted. */
  connects: number;
  readonly received: string[];
  close(): void;
}

let running: RunningCluster;
let port: number;
let clients: Returning[] = [];

beforeAll(async () => {
  // A drain of fewer shards is shorter.
  running = await RunningCluster.start({ edges: 3, env: { LONGLINE_SHARD_COUNT: '64' } });
  port = portOf('edge-1');
});

afterEach(() => {
  for (const client of clients) client.close();
  clients = [];
});

afterAll(() => running?.stop());

/** The device port of an edge. */
function portOf(edge: string): number {
  return Number(new URL(running.cluster.edgeUrl(edge)).port);
}

function server(): IClientOptions {
  return { protocol: deviceScheme('mqtt'), host: '127.0.0.1', port, rejectUnauthorized: false };
}

function mqttClient(clientId: string, options: IClientOptions): Returning {
  const client = connectMqtt({
    ...server(),
    clientId,
    clean: false,
    reconnectPeriod: RECONNECT_MS,
    ...options,
  });
  const returning: Returning = { connects: 0, received: [], close: () => client.end(true) };
  client.on('connect', () => {
    returning.connects++;
    client.subscribe(`push/${clientId}`, { qos: 1 });
  });
  client.on('message', (_, payload) => returning.received.push(payload.toString()));
  client.on('error', () => {});
  clients.push(returning);
  return returning;
}

function webSocketClient(
  clientId: string,
  query = '',
  maxPayload = 2 ** 20,
  edgePort = port,
): Returning {
  let isClosed = false;
  let socket: WebSocket;
  const returning: Returning = {
    connects: 0,
    received: [],
    close: () => {
      isClosed = true;
      socket.terminate();
    },
  };
  const open = () => {
    if (isClosed) return;
    const url = `${deviceScheme('ws')}://127.0.0.1:${edgePort}/connect?clientId=${clientId}${query}`;
    socket = new WebSocket(url, { maxPayload, rejectUnauthorized: false });
    socket.on('open', () => returning.connects++);
    socket.on('message', (payload: Buffer) => returning.received.push(payload.toString()));
    socket.on('error', () => {});
    socket.on('close', () => setTimeout(open, RECONNECT_MS));
  };
  open();
  clients.push(returning);
  return returning;
}

/** Reads NDJSON and resets the connection when a line is too long for it. */
function lineClient(clientId: string, lineBytesMax: number): Returning {
  let isClosed = false;
  let reset = () => {};
  const returning: Returning = {
    connects: 0,
    received: [],
    close: () => {
      isClosed = true;
      reset();
    },
  };
  const open = () => {
    if (isClosed) return;
    const tcp = connectSocket(port, '127.0.0.1');
    tcp.on('error', () => {});
    const socket = TLS_RUN ? connectTls({ socket: tcp, rejectUnauthorized: false }) : tcp;
    reset = () => {
      tcp.resetAndDestroy();
      socket.destroy();
    };
    let rest = '';
    socket.write(
      `GET /connect?clientId=${clientId} HTTP/1.0\r\nHost: e\r\nAccept: application/x-ndjson\r\n\r\n`,
    );
    socket.on('connect', () => returning.connects++);
    socket.on('data', (bytes) => {
      const lines = (rest + bytes.toString()).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        if (line.length > lineBytesMax) return reset();
        if (line.includes('"push"')) returning.received.push(line);
      }
      if (rest.length > lineBytesMax) reset();
    });
    socket.on('error', () => {});
    socket.on('close', () => setTimeout(open, RECONNECT_MS));
  };
  open();
  clients.push(returning);
  return returning;
}

async function moves() {
  return (await controlApi(running.cluster.controlUrl).moves()).drains[0];
}

const drain = (deadlineMs?: number) =>
  controlApi(running.cluster.controlUrl).drain('edge-1', deadlineMs ? { deadlineMs } : {});

async function upgrade(clientId: string, edgePort = port): Promise<RawSocket> {
  const socket = await RawSocket.connect(edgePort);
  await socket.send(`GET /connect?clientId=${clientId} HTTP/1.1\r\nHost: e\r\n${UPGRADE}\r\n`);
  await eventually(() => socket.status !== undefined);
  return socket;
}

test('an edge that shuts down rejects them before they have a session', async () => {
  const [clientId = '', otherId = ''] = await running.clientIdsOf('edge-3', 2, 'shutdown');
  const portOfLeaving = portOf('edge-3');
  const client = webSocketClient(clientId, '', undefined, portOfLeaving);
  await eventually(() => client.connects === 1);
  process.kill(running.cluster.pid('edge-3')!, 'SIGTERM');
  await eventually(async () => {
    const rejected = await upgrade(otherId, portOfLeaving);
    rejected.close();
    expect([rejected.status, rejected.code]).toEqual([503, 'NOT_READY']);
  });
  expect(client.connects).toBe(1);
});

test('clients that know only the draining edge receive one GOAWAY, and the drain names them', async () => {
  const ids = await running.clientIdsOf('edge-1', 6, 'returning');
  const [a, b, c, d, e, f] = ids as [string, string, string, string, string, string];
  const devices = [
    mqttClient(a, { protocolVersion: 4 }),
    mqttClient(b, { protocolVersion: 4 }),
    mqttClient(c, { protocolVersion: 5, properties: { sessionExpiryInterval: 3600 } }),
    mqttClient(d, { protocolVersion: 5, properties: { sessionExpiryInterval: 3600 } }),
    webSocketClient(e),
    webSocketClient(f),
  ];
  await eventually(() => devices.every(({ connects }) => connects === 1));
  const cli = spawn('node', [
    'dist/cli/main.js',
    ...['drain', 'edge-1', '--control', running.cluster.controlUrl],
  ]);
  const exited = once(cli, 'exit');
  let output = '';
  cli.stdout.on('data', (text) => (output += text));

  await eventually(async () => expect((await moves())?.waitingFor?.clients).toBe(6), 100_000);
  expect((await moves())!.waitingFor!.clientIds.toSorted()).toEqual(ids.toSorted());
  await eventually(() => expect(output).toContain('waiting for 6 clients that came back: '));
  for (const id of ids) {
    expect(await running.push.push(id, 'during')).toMatchObject({ verdict: 'WRITTEN' });
  }
  await eventually(() => devices.every(({ received }) => received.length > 0));
  expect(devices.map(({ connects }) => connects)).toEqual([2, 2, 2, 2, 2, 2]);
  expect(devices.map(({ received }) => received)).toEqual(ids.map(() => ['during']));

  await running.undrain('edge-1');
  // It was cancelled.
  expect(await exited).toEqual([1, null]);
});

test('at the deadline of a drain, they are rejected and the drain ends', async () => {
  const [mqttId = '', wsId = '', otherId = ''] = await running.clientIdsOf('edge-1', 3, 'deadline');
  const devices = [mqttClient(mqttId, { protocolVersion: 4 }), webSocketClient(wsId)];
  await eventually(() => devices.every(({ connects }) => connects === 1));
  await drain(12_000);
  await eventually(async () => expect(await moves()).toMatchObject({ finished: true }), 100_000);
  // One GOAWAY when the shard moved, and one at the deadline.
  for (const { connects } of devices) expect(connects).toBeLessThanOrEqual(3);
  const rejected = await upgrade(otherId);
  expect([rejected.status, rejected.code]).toEqual([503, 'NOT_READY']);
  expect(rejected.text).toMatch(/\r\nRetry-After: ([1-9]|10)\r\n/);
  const socket = await RawSocket.connect(port);
  await socket.send(connectPacket({ clientId: otherId }));
  await eventually(() => socket.isEnded);
  expect(socket.bytes).toHaveLength(0);
  socket.close();
  await running.undrain('edge-1');
  await eventually(() => devices.every(({ connects }) => connects > 1));
});

const ACKED = { waitFor: WaitFor.WAIT_FOR_ACKED, waitMs: 20_000 };
const LARGE = 'x'.repeat(100_000);

test('a push that a WebSocket library rejects with 1009 is skipped at once', async () => {
  const clientId = await running.clientIdOf('edge-1', 'poison-ws');
  const client = webSocketClient(clientId, '', 32 * 1024);
  await eventually(() => client.connects === 1);
  await running.push.push(clientId, 'first');
  await eventually(() => client.received.length === 1);
  const large = running.push.push(clientId, LARGE, ACKED);
  await running.push.push(clientId, 'second');
  expect(await large).toMatchObject({ verdict: 'SKIPPED' });
  await eventually(() => expect(client.received.at(-1)).toBe('second'));
  expect(client.connects).toBeLessThanOrEqual(3);
  const skipped = { type: 'push-skipped', clientId, messageId: (await large).messageId };
  await eventually(async () =>
    expect(await running.events()).toContainEqual(expect.objectContaining(skipped)),
  );
});

test('a push after which a line reader resets again and again is skipped', async () => {
  const clientId = await running.clientIdOf('edge-1', 'poison-lines');
  const large = await running.push.push(clientId, LARGE);
  await running.push.push(clientId, 'behind it');
  const client = lineClient(clientId, 64 * 1024);
  await eventually(() => expect(client.received.join()).toContain('behind it'));
  expect(client.connects).toBe(6);
  const api = controlApi(running.cluster.controlUrl);
  await eventually(async () => {
    const events = await running.events();
    const { messageId } = large;
    expect(events).toContainEqual(expect.objectContaining({ type: 'push-skipped', messageId }));
    const looping = { type: 'client-reconnecting', clientId };
    expect(events).toContainEqual(expect.objectContaining(looping));
    expect((await api.client(clientId)).reconnects).toEqual([
      {
        edgeId: 'edge-1',
        ends: 5,
        reasons: Array(5).fill(expect.stringMatching(/^(peer|error)$/)),
      },
    ]);
  });
});

test('a push is skipped that an MQTT client rejects with Packet too large', async () => {
  const clientId = await running.clientIdOf('edge-1', 'poison-mqtt');
  const client = connectMqtt({
    ...server(),
    clientId,
    clean: false,
    protocolVersion: 5,
    properties: { sessionExpiryInterval: 3600 },
    reconnectPeriod: RECONNECT_MS,
  });
  const received: string[] = [];
  client.on('connect', () => client.subscribe(`push/${clientId}`, { qos: 1 }));
  client.on('error', () => {});
  client.on('packetreceive', (packet) => {
    if (packet.cmd !== 'publish') return;
    received.push(packet.payload.toString());
    if (packet.payload.length < 1_000) return;
    client.stream.write(Buffer.from([0xe0, 0x01, 0x95]));
  });
  await eventually(() => client.connected);
  await running.push.push(clientId, LARGE);
  await running.push.push(clientId, 'behind it');
  await eventually(() => expect(received.at(-1)).toBe('behind it'));
  await client.endAsync(true);
});

test('a push over the maximum that the client states is skipped', async () => {
  const clientId = await running.clientIdOf('edge-1', 'limited');
  const client = webSocketClient(clientId, '&maxBytes=1000', 1_000);
  await eventually(() => client.connects === 1);
  await running.push.push(clientId, 'y'.repeat(1_000));
  const large = await running.push.push(clientId, 'z'.repeat(1_001), ACKED);
  expect(large.verdict).toBe('SKIPPED');
  await running.push.push(clientId, 'after');
  await eventually(() => expect(client.received).toEqual(['y'.repeat(1_000), 'after']));
  expect(client.connects).toBe(1);
});
