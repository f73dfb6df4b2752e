/**
 * Goal: third-party MQTT clients receive pushes, confirm them, lose none while they are
 * disconnected or use another protocol, and receive the reason when the edge disconnects them.
 * Method: mqtt.js, Paho for Python and mosquitto_sub against a cluster of processes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { IClientOptions } from 'mqtt';
import { type IPublishPacket, parser } from 'mqtt-packet';
import { controlApi } from '../../../cli/control/api.js';
import { Verdict, WaitFor } from '../../../proto/gen/longline/v1/push.js';
import { LIVE, type PushOptions } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { connect as connectPacket, field, hex, packet } from '../../support/devices/mqtt-bytes.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { SseClient } from '../../support/devices/sse-client.js';
import {
  MOSQUITTO_SUB,
  PYTHON_PAHO,
  PYTHON_PATH,
  testWith,
} from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { deviceScheme, TLS_RUN } from '../../support/tls/tls-run.js';

const CLOSED = 'longline_edge_connections_closed_total';
const ACKED: PushOptions = { waitFor: WaitFor.WAIT_FOR_ACKED };

let running: RunningCluster;
const devices: MqttDevice[] = [];

beforeAll(async () => {
  // A drain of fewer shards is shorter.
  const env = { LONGLINE_SHARD_COUNT: '64', LONGLINE_EDGE_MQTT_ACK_TIMEOUT_MS: '1000' };
  running = await RunningCluster.start({ edges: 2, env });
});

afterAll(() => running?.stop());

afterEach(async () => {
  for (const device of devices.splice(0)) await device.close();
});

/** The device port of an edge. */
function portOf(edge: string): number {
  return Number(new URL(running.cluster.edgeUrl(edge)).port);
}

async function connect(clientId: string, options: IClientOptions = {}, edge = 'edge-1') {
  const device = await MqttDevice.connect(portOf(edge), clientId, options);
  devices.push(device);
  return device;
}

/** Options for a persistent session. */
const PERSISTENT: Record<4 | 5, IClientOptions> = {
  4: { protocolVersion: 4, clean: false },
  5: { protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 3600 } },
};

describe.each([4, 5] as const)('mqtt.js at level %i', (version) => {
  const persistent = PERSISTENT[version];
  const clientIdOf = (name: string) => `${name}-${version}`;

  test('receives pushes with QoS 1, and its PUBACK gives the verdict ACKED', async () => {
    const clientId = clientIdOf('qos1');
    const device = await connect(clientId, persistent);
    expect(await device.subscribe(`push/${clientId}`)).toEqual([1]);
    expect(await running.push.push(clientId, 'hello', ACKED)).toMatchObject({ verdict: 'ACKED' });
    expect(device.received).toMatchObject([
      { topic: `push/${clientId}`, payload: 'hello', qos: 1 },
    ]);
    expect(await running.push.presence(clientId)).toMatchObject({
      connections: [{ protocol: version === 4 ? 'mqtt-3.1.1' : 'mqtt-5' }],
    });
  });

  test('receives pushes with QoS 0 by any filter that matches, confirmed when written', async () => {
    const clientId = clientIdOf('qos0');
    const device = await connect(clientId, persistent);
    expect(await device.subscribe(['push/+', '#'], 0)).toEqual([0, 0]);
    expect(await running.push.push(clientId, 'once', ACKED)).toMatchObject({ verdict: 'ACKED' });
    expect(device.received).toMatchObject([{ payload: 'once', qos: 0 }]);
  });

  test('is granted QoS 1 for a request of 2, and no topics of other clients', async () => {
    const clientId = clientIdOf('granted');
    const device = await connect(clientId, persistent);
    expect(await device.subscribe(`push/${clientId}`, 2)).toEqual([1]);
    const others = device.subscribe(['push/other-client', 'other/#', '$share/g/push/+']);
    if (version === 4) await expect(others).rejects.toThrow();
    else await expect(others).rejects.toThrow(/not authorized|Shared|Topic Filter invalid/i);
  });

  test('receives all pushes sent while it was disconnected', async () => {
    const clientId = clientIdOf('away');
    const first = await connect(clientId, persistent);
    await first.subscribe(`push/${clientId}`);
    await running.push.push(clientId, 'a', ACKED);
    first.drop();
    await first.untilClosed();
    const verdicts = [];
    for (const payload of ['b', 'c', 'd']) {
      verdicts.push((await running.push.push(clientId, payload)).verdict);
    }
    expect(verdicts).toEqual(['STORED', 'STORED', 'STORED']);
    // A session can resume on another edge, without a new SUBSCRIBE.
    const second = await connect(clientId, persistent, 'edge-2');
    await second.until(3);
    expect(second.payloads).toEqual(['b', 'c', 'd']);
    expect(second.client.connected).toBe(true);
  });

  test('with a clean session receives only later pushes, and its old session is discarded', async () => {
    const clientId = clientIdOf('clean');
    const first = await connect(clientId, persistent);
    await first.subscribe(`push/${clientId}`);
    await first.close();
    await running.push.push(clientId, 'old');
    const second = await connect(clientId, { protocolVersion: version, clean: true });
    // Connected but not subscribed: receives no push.
    expect(await running.push.push(clientId, 'unsubscribed', LIVE)).toMatchObject({
      verdict: 'OFFLINE',
    });
    await second.subscribe(`push/${clientId}`);
    await running.push.push(clientId, 'new', ACKED);
    expect(second.payloads).toEqual(['new']);
  });

  test('resumes where server-sent events stopped, and the other way round', async () => {
    const clientId = clientIdOf('switch');
    const url = running.connectUrl(clientId);
    const mqtt = await connect(clientId, persistent);
    await mqtt.subscribe('#');
    await running.push.push(clientId, 'a', ACKED);
    await mqtt.close();
    await running.push.push(clientId, 'b');
    const sse = await SseClient.open(url);
    await sse.until(1);
    const { messageId } = await running.push.push(clientId, 'c');
    await sse.until(2);
    expect(sse.data).toEqual(['b', 'c']);
    sse.close();
    // Server-sent events are confirmed only by a reconnect with their id.
    const again = await SseClient.open(url, { headers: { 'last-event-id': messageId } });
    await running.push.push(clientId, 'd');
    await again.until(1);
    const back = await connect(clientId, persistent);
    await running.push.push(clientId, 'e', ACKED);
    expect(back.payloads).toEqual(['d', 'e']);
    again.close();
  });

  test('the newer connection of a clientId replaces the older one, on any edge', async () => {
    const clientId = clientIdOf('twice');
    const older = await connect(clientId, persistent);
    await older.subscribe('push/+');
    const newer = await connect(clientId, persistent, 'edge-2');
    await older.untilClosed();
    if (version === 5) expect(older.disconnectReason).toBe(0x8e);
    await running.push.push(clientId, 'for the newer', ACKED);
    expect(newer.payloads).toEqual(['for the newer']);
  });

  test('is disconnected by a backend', async () => {
    const clientId = clientIdOf('ended');
    const device = await connect(clientId, persistent);
    await running.push.disconnect(clientId);
    await device.untilClosed();
    if (version === 5) expect(device.disconnectReason).toBe(0x98);
  });

  test('is closed after one and a half times its keep alive [MQTT-3.1.2-22]', async () => {
    const clientId = clientIdOf('silent');
    const silent = () => running.metric('edge-1', CLOSED, { reason: 'silent' });
    const before = await silent();
    const device = await RawSocket.connect(portOf('edge-1'));
    const startMs = performance.now();
    await device.send(connectPacket({ version, keepAliveSeconds: 1, clientId }));
    // An incomplete packet does not extend the keep alive.
    await eventually(() => device.bytes.length > 0);
    await device.send(hex('c0'));
    await device.untilEnded();
    expect(performance.now() - startMs).toBeGreaterThan(1_450);
    // Far below the keep alive that an edge assumes for a device that states none.
    expect(performance.now() - startMs).toBeLessThan(10_000);
    expect(device.bytes.subarray(-3).toString('hex')).toBe(version === 5 ? 'e0018d' : '020000');
    await eventually(async () => expect(await silent()).toBe(before + 1));
  });

  test('more pushes than Receive Maximum arrive in order, each once', async () => {
    const clientId = clientIdOf('many');
    const device = await connect(clientId, {
      ...persistent,
      properties: { ...persistent.properties, receiveMaximum: 3 },
    });
    await device.subscribe(`push/${clientId}`);
    const payloads = Array.from({ length: 100 }, (_, i) => `push ${i}`);
    for (const payload of payloads) await running.push.push(clientId, payload, { waitMs: 1 });
    await running.push.push(clientId, 'last', ACKED);
    expect(device.payloads).toEqual([...payloads, 'last']);
  });
});

describe('mqtt.js with MQTT 5', () => {
  test('receives the content type and the remaining TTL of a push', async () => {
    const device = await connect('typed', PERSISTENT[5]);
    await device.subscribe('push/typed');
    const options = { ...ACKED, ttlMs: 30_000, contentType: 'application/json' };
    await running.push.push('typed', '{}', options);
    const { properties } = device.received[0]!;
    expect(properties).toMatchObject({
      contentType: 'application/json',
      payloadFormatIndicator: true,
    });
    expect(properties.messageExpiryInterval).toBeGreaterThan(25);
    expect(properties.messageExpiryInterval).toBeLessThanOrEqual(30);
  });

  test('does not receive a push over its maximum packet size [MQTT-3.1.2-25]', async () => {
    const skipped = () => running.metric('edge-1', 'longline_edge_mqtt_pushes_too_large_total');
    const before = await skipped();
    const properties = { ...PERSISTENT[5].properties, maximumPacketSize: 200 };
    const device = await connect('small', { ...PERSISTENT[5], properties });
    await device.subscribe('push/small');
    expect(await running.push.push('small', 'x'.repeat(300), ACKED)).toMatchObject({
      verdict: 'ACKED',
    });
    await running.push.push('small', 'fits', ACKED);
    expect(device.payloads).toEqual(['fits']);
    await eventually(async () => expect(await skipped()).toBe(before + 1));
  });

  test('receives a reason code when it publishes', async () => {
    const device = await connect('limits', PERSISTENT[5]);
    expect(device.client.options.properties).toBeDefined();
    await expect(device.client.publishAsync('push/limits', 'x', { qos: 1 })).rejects.toThrow(
      /Not authorized/,
    );
    expect(device.client.connected).toBe(true);
    // Announced as unsupported, but hardly any client looks at that.
    await device.client.publishAsync('status/limits', 'x', { qos: 0, retain: true });
    await device.subscribe('push/limits');
    await running.push.push('limits', 'served', ACKED);
    expect(device.payloads).toEqual(['served']);
  });

  test('receives the address of its new edge when its edge is drained, and resumes there', async () => {
    const clientId = await running.clientIdOf('edge-1', 'drained');
    const device = await connect(clientId, PERSISTENT[5]);
    await device.subscribe('#');
    await controlApi(running.cluster.controlUrl).drain('edge-1', {});
    try {
      await device.untilClosed(100_000);
      expect(device.disconnectReason).toBe(0x9c);
      expect(device.serverReference).toBe(new URL(running.cluster.edgeUrl('edge-2')).host);
      const port = Number(device.serverReference!.split(':')[1]);
      expect(port).toBe(portOf('edge-2'));
      const again = await connect(clientId, PERSISTENT[5], 'edge-2');
      await running.push.push(clientId, 'there', ACKED);
      expect(again.payloads).toEqual(['there']);
    } finally {
      await controlApi(running.cluster.controlUrl).undrain('edge-1', {});
    }
  });
});

test.each([0, 1, 2] as const)(
  'a 3.1.1 device that publishes its state at QoS %i when it connects is served',
  async (qos) => {
    const ignored = () =>
      running.metric('edge-1', 'longline_edge_mqtt_ignored_total', { packet: 'publish' });
    const before = await ignored();
    const clientId = `birth-${qos}`;
    const device = await connect(clientId, PERSISTENT[4]);
    await device.client.publishAsync(`state/${clientId}`, 'online', { qos, retain: true });
    await device.subscribe(`push/${clientId}`);
    await running.push.push(clientId, 'served', ACKED);
    expect(device.payloads).toEqual(['served']);
    expect(await ignored()).toBe(before + 1);
  },
);

describe('pushes that a device leaves unacknowledged', () => {
  const SESSION = { 4: { flags: 0 }, 5: { flags: 0, properties: '11 00000e10' } } as const;
  const sockets: RawSocket[] = [];

  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.close();
  });

  async function dial(version: 4 | 5, clientId: string, edge: string): Promise<RawSocket> {
    const socket = await RawSocket.connect(portOf(edge));
    sockets.push(socket);
    await socket.send(connectPacket({ version, clientId, ...SESSION[version] }));
    return socket;
  }

  async function subscribe(version: 4 | 5, socket: RawSocket): Promise<void> {
    await socket.send(packet(0x82, hex(version === 5 ? '0001 00' : '0001'), field('#'), hex('01')));
    await eventually(() =>
      socket.bytes.includes(hex(version === 5 ? '90040001 0001' : '9003000101')),
    );
  }

  const puback = (packetId: number) => Buffer.from([0x40, 2, packetId >> 8, packetId & 0xff]);

  function publishesOf(version: 4 | 5, { bytes }: RawSocket): IPublishPacket[] {
    const packets: IPublishPacket[] = [];
    const parse = parser({ protocolVersion: version });
    parse.on('packet', (each) => each.cmd === 'publish' && packets.push(each));
    parse.parse(bytes);
    return packets;
  }

  const payloadsOf = (version: 4 | 5, socket: RawSocket) =>
    publishesOf(version, socket).map(({ payload }) => payload.toString());

  test.each([
    [4, 'edge-1'],
    [4, 'edge-2'],
    [5, 'edge-1'],
    [5, 'edge-2'],
  ] as const)('level %i: only these come again, on %s', async (version, edge) => {
    const clientId = `lost-${version}-${edge}`;
    const first = await dial(version, clientId, 'edge-1');
    await subscribe(version, first);
    for (const payload of ['1', '2', '3', '4']) await running.push.push(clientId, payload);
    const acked = running.push.push(clientId, '5', { ...ACKED, waitMs: 5_000 });
    await eventually(() => publishesOf(version, first).length === 5);
    for (const packetId of [2, 3, 5, 4]) await first.send(puback(packetId));
    expect(await acked).toMatchObject({ verdict: 'ACKED' });
    const again = await dial(version, clientId, edge);
    await first.untilEnded();
    await running.push.push(clientId, '6');
    await eventually(() => payloadsOf(version, again).includes('6'));
    expect(payloadsOf(version, again)).toEqual(['1', '6']);
    const [resent] = publishesOf(version, again);
    if (edge === 'edge-1') expect(resent).toMatchObject({ messageId: 1, dup: true });
    for (const { messageId } of publishesOf(version, again)) await again.send(puback(messageId!));
    const last = running.push.push(clientId, '7', ACKED);
    await eventually(() => payloadsOf(version, again).includes('7'));
    await again.send(puback(publishesOf(version, again).at(-1)!.messageId!));
    expect(await last).toMatchObject({ verdict: 'ACKED' });
  });

  test.each([4, 5] as const)('level %i: do not stop the others', async (version) => {
    const clientId = `stuck-${version}`;
    const device = await dial(version, clientId, 'edge-1');
    await subscribe(version, device);
    const payloads = Array.from({ length: 70 }, (_, i) => `push ${i}`);
    for (const payload of payloads) await running.push.push(clientId, payload, { waitMs: 1 });
    await eventually(() => publishesOf(version, device).length === 70);
    expect(payloadsOf(version, device)).toEqual(payloads);
    // None was sent twice on one connection [MQTT-4.4.0-1].
    expect(publishesOf(version, device).some(({ dup }) => dup)).toBe(false);
    const aside = await running.metric('edge-1', 'longline_edge_mqtt_unacknowledged_total', {
      outcome: 'set_aside',
    });
    expect(aside).toBeGreaterThanOrEqual(38);
  });

  test('leave the window when they expire', async () => {
    const device = await dial(4, 'expiring', 'edge-1');
    await subscribe(4, device);
    await running.push.push('expiring', 'expires', { ttlMs: 500 });
    await eventually(async () => {
      const expired = { outcome: 'expired' };
      return (
        (await running.metric('edge-1', 'longline_edge_mqtt_unacknowledged_total', expired)) > 0
      );
    });
    const last = running.push.push('expiring', 'later', { ...ACKED, waitMs: 5_000 });
    await eventually(() => payloadsOf(4, device).includes('later'));
    await device.send(puback(2));
    expect(await last).toMatchObject({ verdict: 'ACKED' });
    const again = await dial(4, 'expiring', 'edge-2');
    await running.push.push('expiring', 'newest');
    await eventually(() => payloadsOf(4, again).includes('newest'));
    expect(payloadsOf(4, again)).toEqual(['newest']);
  });
});

/** Prints a line `payload qos` for each message on the client's topic. */
const PAHO = `
import sys
import paho.mqtt.client as mqtt
port, client_id, version, qos = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
old = {} if hasattr(mqtt, 'CallbackAPIVersion') is False else {'callback_api_version': mqtt.CallbackAPIVersion.VERSION1}
session = {'clean_session': False} if version == 4 else {}
client = mqtt.Client(client_id=client_id, protocol=version, **session, **old)
def on_connect(client, *_):
    client.subscribe('push/' + client_id, qos)
client.on_connect = on_connect
client.on_subscribe = lambda *_: print('subscribed', flush=True)
client.on_message = lambda _client, _data, message: print(message.payload.decode(), message.qos, flush=True)
if sys.argv[5] == 'mqtts': client.tls_set()
client.connect('127.0.0.1', port, 30)
client.loop_forever()
`;

/** Runs a client process during a test. */
async function withProcess(
  command: string,
  args: string[],
  test: (printed: () => string) => Promise<void>,
): Promise<void> {
  const client = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  client.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  try {
    await test(() => text);
  } finally {
    await end(client);
  }
}

async function end(client: ChildProcess): Promise<void> {
  if (client.exitCode !== null) return;
  client.kill();
  await once(client, 'exit');
}

for (const version of [4, 5]) {
  for (const qos of [0, 1]) {
    const clientId = `python-${version}-${qos}`;

    testWith(PYTHON_PAHO)(
      `Paho for Python at level ${version} receives and confirms with QoS ${qos}`,
      () =>
        withProcess(
          PYTHON_PATH,
          [
            '-c',
            PAHO,
            `${portOf('edge-1')}`,
            clientId,
            `${version}`,
            `${qos}`,
            deviceScheme('mqtt'),
          ],
          async (printed) => {
            await eventually(() => printed().includes('subscribed'));
            const pushed = await running.push.push(clientId, 'grüße', ACKED);
            expect(pushed.verdict).toBe('ACKED');
            await eventually(() => printed().includes(`grüße ${qos}\n`));
          },
        ),
    );

    const name = `mosquitto-${version}-${qos}`;
    testWith(MOSQUITTO_SUB)(
      `mosquitto_sub at level ${version} receives and confirms with QoS ${qos}, also as a member of a group`,
      () => {
        const address = ['-h', '127.0.0.1', '-p', `${portOf('edge-1')}`, '-i', name];
        const session = ['-V', version === 4 ? 'mqttv311' : 'mqttv5', '-q', `${qos}`, '-c'];
        const output = ['-t', `push/${name}`, '-t', `group/of-${name}`, '-F', '%p %q'];
        const trust = TLS_RUN ? ['--cafile', process.env.SSL_CERT_FILE!] : [];
        const args = [...address, ...session, ...output, ...trust];
        return withProcess('mosquitto_sub', args, async (printed) => {
          const live = () => running.push.push(name, 'are you there', LIVE);
          await eventually(async () => (await live()).verdict === 'WRITTEN');
          const pushed = await running.push.push(name, 'stored', ACKED);
          expect(pushed.verdict).toBe('ACKED');
          await eventually(() => printed().includes(`stored ${qos}\n`));
          const { counts } = await running.push.pushGroup(`of-${name}`, 'to all');
          expect(counts).toEqual([{ verdict: Verdict.VERDICT_WRITTEN, count: 1 }]);
          await eventually(() => printed().includes(`to all ${qos}\n`));
        });
      },
    );
  }
}
