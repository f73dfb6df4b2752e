/**
 * Goal: MQTT over WebSockets works as over TCP, on edges and through a front, with clients that we
 * did not write and with every way to put packets into frames. Method: a cluster of processes;
 * mqtt.js, Paho for Python, and raw frames.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { IClientOptions } from 'mqtt';
import { chromium } from 'playwright-core';
import { controlApi } from '../../../cli/control/api.js';
import { WaitFor } from '../../../proto/gen/longline/v1/push.js';
import type { PushOptions } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { CHROMIUM_ARGS } from '../../support/devices/chromium.js';
import { maskedFrame } from '../../support/devices/masked-frame.js';
import { connect as connectPacket, field, hex, packet } from '../../support/devices/mqtt-bytes.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import {
  CHROMIUM,
  CHROMIUM_PATH,
  PYTHON_PAHO,
  PYTHON_PATH,
  testWith,
} from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { deviceScheme } from '../../support/tls/tls-run.js';

const ACKED: PushOptions = { waitFor: WaitFor.WAIT_FOR_ACKED };
const PERSISTENT: Record<4 | 5, IClientOptions> = {
  4: { protocolVersion: 4, clean: false },
  5: { protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 3600 } },
};
const SUBSCRIBE = packet(0x82, hex('0001'), field('#'), hex('01'));

let running: RunningCluster;
const pages = createServer((_, response) => response.end('<!doctype html>'));
const pagesPort = () => (pages.address() as AddressInfo).port;
const devices: MqttDevice[] = [];
const sockets: RawSocket[] = [];

beforeAll(async () => {
  await once(pages.listen(0, '127.0.0.1'), 'listening');
  const env = {
    LONGLINE_SHARD_COUNT: '64',
    LONGLINE_MQTT_PATHS: '/mqtt,/ws/mqtt',
    LONGLINE_CORS_ORIGINS: `http://127.0.0.1:${pagesPort()}`,
  };
  running = await RunningCluster.start({ edges: 2, env });
});

afterAll(async () => {
  pages.close();
  await running?.stop();
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  for (const device of devices.splice(0)) await device.close();
});

const SERVERS = ['an edge', 'a front'] as const;
type Server = (typeof SERVERS)[number];

function portOf(server: Server): number {
  const { cluster } = running;
  const url = server === 'a front' ? cluster.frontUrl('router') : cluster.edgeUrl('edge-1');
  return Number(new URL(url).port);
}

async function connect(server: Server, clientId: string, options: IClientOptions, path = '/mqtt') {
  const url = `${deviceScheme('ws')}://127.0.0.1:${portOf(server)}${path}`;
  const device = await MqttDevice.connect(url, clientId, options);
  devices.push(device);
  return device;
}

/** Upgrades; resolves when the response head was received, whose bytes are dropped. */
async function upgrade(server: Server, path = '/mqtt', offered = 'mqtt', headers = '') {
  const socket = await RawSocket.connect(portOf(server));
  sockets.push(socket);
  await socket.send(
    Buffer.from(
      `GET ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
        `Sec-WebSocket-Protocol: ${offered}\r\n${headers}\r\n`,
    ),
  );
  await eventually(() => socket.bytes.includes('\r\n\r\n'));
  return socket;
}

function headOf({ bytes }: RawSocket): string {
  return bytes.subarray(0, bytes.indexOf('\r\n\r\n')).toString();
}

/** Bytes after the response head, in hex. */
function framesOf({ bytes }: RawSocket): string {
  return bytes.subarray(bytes.indexOf('\r\n\r\n') + 4).toString('hex');
}

const binary = (payload: Buffer) => maskedFrame({ opcode: 2, payload });
const hexOf = (text: string) => Buffer.from(text).toString('hex');

describe.each(SERVERS)('at %s', (server) => {
  const idOf = (name: string) => `${name}-${server === 'a front' ? 'front' : 'edge'}`;

  test.each([
    [4, '/mqtt'],
    [5, '/ws/mqtt'],
    [5, '/connect?epoch=1-1'],
  ] as const)('mqtt.js at level %i receives and confirms pushes at %s', async (version, path) => {
    const clientId = idOf(`js-${version}-${path.length}`);
    const device = await connect(server, clientId, PERSISTENT[version], path);
    expect(await device.subscribe(`push/${clientId}`)).toEqual([1]);
    const large = 'x'.repeat(70_000);
    for (const payload of ['hello', large]) {
      expect(await running.push.push(clientId, payload, ACKED)).toMatchObject({ verdict: 'ACKED' });
    }
    expect(device.payloads).toEqual(['hello', large]);
    const protocol = version === 4 ? 'mqtt-3.1.1-websocket' : 'mqtt-5-websocket';
    const { connections } = await running.push.presence(clientId);
    expect(connections).toMatchObject([{ protocol }]);
    if (server === 'a front') expect(connections).toMatchObject([{ guest: false }]);
  });

  test('a session resumes over TCP, and over a WebSocket again', async () => {
    const clientId = idOf('resumes');
    const first = await connect(server, clientId, PERSISTENT[5]);
    await first.subscribe('#');
    first.drop();
    await first.untilClosed();
    await running.push.push(clientId, 'away');
    const port = Number(new URL(running.cluster.edgeUrl('edge-2')).port);
    const overTcp = await MqttDevice.connect(port, clientId, PERSISTENT[5]);
    devices.push(overTcp);
    await running.push.push(clientId, 'confirmed', ACKED);
    expect(overTcp.payloads).toEqual(['away', 'confirmed']);
    const again = await connect(server, clientId, PERSISTENT[5]);
    await overTcp.untilClosed();
    expect(overTcp.disconnectReason).toBe(0x8e);
    expect(await running.push.push(clientId, 'back', ACKED)).toMatchObject({ verdict: 'ACKED' });
    expect(again.payloads).toEqual(['back']);
  });

  test.each([
    ['one frame per packet', (stream: Buffer) => [stream]],
    ['a frame per byte', (stream: Buffer) => [...stream].map((byte) => Buffer.of(byte))],
    ['cuts within packets', (stream: Buffer) => [stream.subarray(0, 20), stream.subarray(20)]],
  ])('packets arrive with %s', async (name, cut) => {
    const clientId = idOf(`cut-${name.length}`);
    const socket = await upgrade(server);
    expect(headOf(socket)).toContain('Sec-WebSocket-Protocol: mqtt');
    const stream = Buffer.concat([connectPacket({ clientId, flags: 0 }), SUBSCRIBE, hex('c000')]);
    await socket.send(Buffer.concat(cut(stream).map(binary)));
    await eventually(() => framesOf(socket).includes('d000'));
    expect(framesOf(socket)).toMatch(/^820420020000/);
    const pushed = running.push.push(clientId, 'hello', ACKED);
    await eventually(() => framesOf(socket).endsWith(hexOf('hello')));
    for (const byte of hex('40020001')) await socket.send(binary(Buffer.of(byte)));
    expect(await pushed).toMatchObject({ verdict: 'ACKED' });
    // DISCONNECT is answered with a close frame.
    await socket.send(binary(hex('e000')));
    await socket.untilEnded();
    expect(framesOf(socket).slice(-8)).toBe('880203e8');
  });

  test('pings of WebSockets are answered, before and after CONNECT', async () => {
    const socket = await upgrade(server);
    const ping = (payload: string) => maskedFrame({ opcode: 9, payload: Buffer.from(payload) });
    const clientId = idOf('pings');
    await socket.send(Buffer.concat([ping('a'), binary(connectPacket({ clientId })), ping('b')]));
    await eventually(() => framesOf(socket) === '8a0161' + '820420020000' + '8a0162');
  });

  test.each([
    ['a text message', maskedFrame({ opcode: 1, payload: connectPacket() }), '03eb'],
    ['an unmasked frame', hex('8202 c000'), '03ea'],
    ['a large message', hex('82fe 7fff 00000000'), '03f1'],
    ['a close frame', maskedFrame({ opcode: 8, payload: hex('03e8') }), '03e8'],
  ])('%s ends the connection, before and after CONNECT', async (_name, bytes, code) => {
    const early = await upgrade(server);
    await early.send(bytes);
    await early.untilEnded();
    expect(framesOf(early).slice(4, 8)).toBe(code);
    const late = await upgrade(server);
    await late.send(binary(connectPacket({ clientId: idOf('ends') })));
    await eventually(() => framesOf(late) === '820420020000');
    await late.send(bytes);
    await late.untilEnded();
    expect(framesOf(late).slice(16, 20)).toBe(code);
  });

  test('a rejected CONNECT receives its CONNACK and a close frame', async () => {
    const socket = await upgrade(server);
    await socket.send(binary(connectPacket({ clientId: '' })));
    await socket.untilEnded();
    expect(framesOf(socket)).toMatch(/^82042002000288..03f0/);
    const will = await upgrade(server);
    const rest = Buffer.concat([field('topic'), field('gone')]);
    await will.send(binary(connectPacket({ clientId: idOf('will'), flags: 6, rest })));
    await will.untilEnded();
    expect(framesOf(will)).toMatch(/^82042002000588..03f0/);
  });

  test.each([
    ['/mqtt', 'mqttv3.1', '', 400],
    ['/mqtt', 'longline.json', '', 400],
    ['/connect?clientId=a', 'mqttv3.1', '', 400],
    ['/mqtt/other', 'mqtt', '', 404],
    ['/mqtt', 'mqtt', 'Origin: https://evil.example\r\n', 403],
  ])('%s with the subprotocol %s and %j is rejected', async (path, offered, headers, status) => {
    const socket = await upgrade(server, path, offered, headers);
    expect(headOf(socket)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    await socket.untilEnded();
  });

  testWith(PYTHON_PAHO)('Paho receives pushes and confirms them', async () => {
    const clientId = idOf('paho');
    const client = spawn(
      PYTHON_PATH,
      ['-c', PAHO, `${portOf(server)}`, clientId, deviceScheme('ws')],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let printed = '';
    client.stdout.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
    });
    try {
      await eventually(() => printed.includes('subscribed'));
      expect(await running.push.push(clientId, 'hello', ACKED)).toMatchObject({ verdict: 'ACKED' });
      await eventually(() => printed.includes('hello 1'));
    } finally {
      client.kill();
    }
  });
});

const PAHO = `
import sys
import paho.mqtt.client as mqtt
port, client_id = int(sys.argv[1]), sys.argv[2]
old = {'callback_api_version': mqtt.CallbackAPIVersion.VERSION1} if hasattr(mqtt, 'CallbackAPIVersion') else {}
client = mqtt.Client(client_id=client_id, clean_session=False, transport='websockets', **old)
client.on_connect = lambda client, *_: client.subscribe('push/' + client_id, 1)
client.on_subscribe = lambda *_: print('subscribed', flush=True)
client.on_message = lambda _client, _data, message: print(message.payload.decode(), message.qos, flush=True)
if sys.argv[3] == 'wss': client.tls_set()
client.connect('127.0.0.1', port, 30)
client.loop_forever()
`;

testWith(CHROMIUM)(
  'mqtt.js in a page receives pushes through a front, and a page of a foreign origin does not',
  async () => {
    const browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGS });
    try {
      const page = await browser.newPage();
      const path = fileURLToPath(import.meta.resolve('mqtt')).replace(
        /build.*/,
        'dist/mqtt.min.js',
      );
      const connectFrom = async (host: string) => {
        await page.goto(`http://${host}:${pagesPort()}/`);
        await page.addScriptTag({ path });
        await page.evaluate(
          `(${PAGE})('${deviceScheme('ws')}://127.0.0.1:${portOf('a front')}/mqtt')`,
        );
      };
      await connectFrom('127.0.0.1');
      await eventually(async () => (await page.title()) === 'subscribed');
      expect(await running.push.push('page', 'hello', ACKED)).toMatchObject({ verdict: 'ACKED' });
      await eventually(async () => (await page.title()) === 'hello');
      await connectFrom('localhost');
      await eventually(async () => (await page.title()) === 'closed');
    } finally {
      await browser.close();
    }
  },
);

/** Runs in a page: shows in its title what happened last. */
const PAGE = `(url) => {
  const client = window.mqtt.connect(url, { clientId: 'page', clean: false, reconnectPeriod: 0 });
  const show = (text) => () => { document.title = text; };
  client.on('connect', () => client.subscribe('push/page', { qos: 1 }, show('subscribed')));
  client.on('message', (_, payload) => { document.title = payload.toString(); });
  client.on('close', show('closed'));
  client.on('error', () => {});
}`;

test('a drained edge sends DISCONNECT and then a close frame', async () => {
  const clientId = await running.clientIdOf('edge-1', 'drained');
  const socket = await upgrade('an edge');
  await socket.send(binary(connectPacket({ version: 5, clientId })));
  await eventually(() => framesOf(socket).startsWith('82'));
  const control = controlApi(running.cluster.controlUrl);
  await control.drain('edge-1', {});
  try {
    await socket.untilEnded(100_000);
    // DISCONNECT 0x9C in a message, then the close code 4002.
    expect(framesOf(socket)).toMatch(/82..e0..9c.*88..0fa2/);
  } finally {
    await control.undrain('edge-1', {});
  }
});
