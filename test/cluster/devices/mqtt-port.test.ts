/**
 * Goal: each violation of the MQTT standards gets the response that the clause requires or a clean
 * close, is counted, and does not affect other clients. Method: one edge as a process, raw sockets
 * against its device port. During each case two well-behaved clients are connected to the same
 * edge, with MQTT and server-sent events: they must stay connected and receive a push afterwards.
 * The counter with the label of the case must have increased by one.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { connect, field, hex, packet } from '../../support/devices/mqtt-bytes.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';

const HEAD_TIMEOUT_MS = 1_500;
/** Below the default of the timeout. The rest of it is for a busy machine. */
const ENDED_MS_MAX = 9_000;
const HEAD_BYTES_MAX = 8_192;
const REJECTED = 'longline_edge_requests_rejected_total';
const CLOSED = 'longline_edge_connections_closed_total';
const IGNORED = 'longline_edge_mqtt_ignored_total';
const CONNECTIONS = 'longline_edge_connections';

let running: RunningCluster;
let port: number;
let healthy: MqttDevice;
let watching: SseClient;
const sockets: RawSocket[] = [];

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: 1,
    env: {
      LONGLINE_EDGE_HEAD_TIMEOUT_MS: `${HEAD_TIMEOUT_MS}`,
      LONGLINE_EDGE_MQTT_PUBLISHES: 'reject',
    },
  });
  port = Number(new URL(running.cluster.edgeUrl('edge-1')).port);
});

afterAll(() => running?.stop());

beforeEach(async () => {
  healthy = await MqttDevice.connect(port, 'healthy');
  await healthy.subscribe('push/healthy');
  watching = await SseClient.open(running.connectUrl('watching'));
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  for (const clientId of ['healthy', 'watching']) {
    expect(await running.push.push(clientId, 'still here', LIVE)).toMatchObject({
      verdict: 'WRITTEN',
    });
  }
  await healthy.until(1);
  await watching.until(1);
  expect(healthy.payloads).toEqual(['still here']);
  expect(watching.data).toEqual(['still here']);
  watching.close();
  await healthy.close();
  // The next test counts closed connections: those of this test must be closed before.
  await eventually(async () => (await running.metric('edge-1', CONNECTIONS)) === 0);
});

async function dial(...bytes: Buffer[]): Promise<RawSocket> {
  const socket = await RawSocket.connect(port);
  sockets.push(socket);
  if (bytes.length > 0) await socket.send(Buffer.concat(bytes));
  return socket;
}

const hexOf = (socket: RawSocket) => socket.bytes.toString('hex');
const hexOfText = (text: string) => Buffer.from(text).toString('hex');

/** Runs `work`, which increases a labelled counter by `by`. */
async function expectIncrease(
  metric: string,
  labels: Record<string, string>,
  by: number,
  work: () => Promise<void>,
): Promise<void> {
  const before = await running.metric('edge-1', metric, labels);
  await work();
  await eventually(async () => {
    expect((await running.metric('edge-1', metric, labels)) - before).toBe(by);
  });
}

describe('before a CONNECT is complete', () => {
  test.each([
    [
      '[MQTT-2.1.3-1] flags of its fixed header',
      connect().fill(0x11, 0, 1),
      'REQUEST_MALFORMED',
      '',
    ],
    ['§1.5.5 a length of five bytes', hex('10 ffffffff7f'), 'REQUEST_MALFORMED', ''],
    ['§3.1.2.11.4 a length of 256 MB', hex('10 ffffff7f'), 'HEAD_TOO_LARGE', ''],
    [
      '[MQTT-3.1.2-1] another protocol',
      hex('10 0c 0004 48545450 04 02 0000 0000'),
      'REQUEST_MALFORMED',
      '',
    ],
    [
      '[MQTT-3.1.2-2] MQTT 3.1',
      hex('10 0f 0006 4d5149736470 03 02 003c 0001 61'),
      'MQTT_VERSION_UNSUPPORTED',
      '20020001',
    ],
    ['[MQTT-3.1.2-3] the reserved flag', connect({ flags: 3 }), 'REQUEST_MALFORMED', ''],
    [
      '[MQTT-1.5.4-2] U+0000 in the clientId',
      connect({ clientId: 'a\0' }),
      'REQUEST_MALFORMED',
      '',
    ],
    [
      '[MQTT-1.5.4-1] a clientId that is not UTF-8',
      connect({ clientId: hex('ff') }),
      'REQUEST_MALFORMED',
      '',
    ],
    [
      '[MQTT-3.1.3-8] of 3.1.1: no clientId, no clean session',
      connect({ clientId: '', flags: 0 }),
      'CLIENT_ID_INVALID',
      '20020002',
    ],
    [
      '[MQTT-3.1.3-6] no clientId, a clean session',
      connect({ clientId: '' }),
      'CLIENT_ID_INVALID',
      '20020002',
    ],
    [
      '[MQTT-3.3.2-2] a clientId with a wildcard',
      connect({ clientId: 'a/#' }),
      'CLIENT_ID_INVALID',
      '20020002',
    ],
    ['a clientId of 64 KiB', connect({ clientId: 'x'.repeat(65_535) }), 'HEAD_TOO_LARGE', ''],
    [
      'a will',
      connect({ flags: 0x06, rest: Buffer.concat([field('t'), field('')]) }),
      'PERMISSION_DENIED',
      '20020005',
    ],
  ])('%s is rejected and counted', async (_clause, bytes, code, answer) => {
    await expectIncrease(REJECTED, { code }, 1, async () => {
      const socket = await dial(bytes);
      await socket.untilEnded();
      expect(hexOf(socket)).toBe(answer);
    });
  });

  test.each([
    ['[MQTT-3.2.2-12] a will of QoS 2', { flags: 0x16 }, 0x9b],
    ['[MQTT-3.2.2-13] a retained will', { flags: 0x26 }, 0x9a],
    ['§3.1.3.3 a will', { flags: 0x06 }, 0x90],
  ])('MQTT 5 rejects %s', async (_clause, parts, reason) => {
    const rest = Buffer.concat([hex('00'), field('t'), field('')]);
    const socket = await dial(connect({ version: 5, ...parts, rest }));
    await socket.untilEnded();
    expect(socket.bytes[3]).toBe(reason);
  });

  test('MQTT 5 rejects an authentication method [MQTT-4.12.0-1]', async () => {
    const socket = await dial(connect({ version: 5, properties: '15 0001 61' }));
    await socket.untilEnded();
    expect(socket.bytes[3]).toBe(0x8c);
  });

  test.each([1, 2, 9, 12])(
    '%i bytes and then silence are closed at the deadline',
    async (length) => {
      await expectIncrease(REJECTED, { code: 'HEAD_TIMEOUT' }, 1, async () => {
        const socket = await dial(connect().subarray(0, length));
        await socket.untilEnded(ENDED_MS_MAX);
        expect(hexOf(socket)).toBe('');
      });
    },
  );

  test('bytes that drip do not extend the deadline', async () => {
    const socket = await dial();
    const bytes = connect({ clientId: 'x'.repeat(200) });
    const startMs = performance.now();
    for (const byte of bytes) {
      const nextMs = performance.now() + 50;
      await socket.send(Buffer.from([byte]));
      await eventually(() => socket.isEnded || performance.now() > nextMs);
      if (socket.isEnded) break;
    }
    await socket.untilEnded();
    expect(performance.now() - startMs).toBeLessThan(ENDED_MS_MAX);
  });
});

describe('after a CONNECT', () => {
  const SUBSCRIBE = hex('82 06 0001 0001 23 01');
  const SUBSCRIBED = '9003000101';

  test('a SUBSCRIBE right behind it is answered, however the bytes are split', async () => {
    const bytes = Buffer.concat([connect({ clientId: 'split' }), SUBSCRIBE]);
    for (let length = 1; length < bytes.length; length++) {
      const socket = await dial(bytes.subarray(0, length));
      await socket.send(bytes.subarray(length));
      await eventually(() => hexOf(socket) === `20020000${SUBSCRIBED}`);
      socket.close();
    }
  });

  test.each([
    ['[MQTT-3.1.0-2] a second CONNECT', connect({ version: 5 }), 0x82],
    ['[MQTT-2.1.3-1] reserved flags', hex('80 02 0001'), 0x81],
    ['§1.5.5 a length of five bytes', hex('c0 ffffffff7f'), 0x81],
    ['§3.1.2.11.4 a length of 256 MB', hex('30 ffffff7f'), 0x95],
    ['[MQTT-2.2.1-3] packet identifier 0', hex('82 07 0000 00 0001 23 01'), 0x82],
    ['§3.8.3.1 QoS 3', hex('82 07 0001 00 0001 23 03'), 0x82],
    ['[MQTT-3.3.1-4] a PUBLISH of QoS 3', hex('36 06 0001 74 0001 00'), 0x81],
    ['[MQTT-3.3.2-2] a PUBLISH to a wildcard', hex('30 04 0001 23 00'), 0x90],
    ['[MQTT-4.7.3-1] a PUBLISH to no topic', hex('30 03 0000 00'), 0x82],
    ['[MQTT-3.3.2-9] a topic alias', hex('30 07 0001 74 03 230001'), 0x94],
    ['a PUBLISH', hex('30 04 0001 74 00'), 0x87],
    ['[MQTT-4.12.0-7] AUTH', hex('f0 00'), 0x82],
    ['§3.2.2.3.12 a subscription identifier', hex('82 09 0001 02 0b01 0001 23 01'), 0xa1],
    ['§2.2.2.2 a property twice', hex('e0 0c 00 0a 11 00000000 11 00000000'), 0x82],
    ['§2.2.2.2 a property of another packet', hex('e0 05 00 03 230001'), 0x81],
  ])('MQTT 5 disconnects for %s', async (_clause, bytes, reason) => {
    await expectIncrease(CLOSED, { reason: 'unexpected_bytes' }, 1, async () => {
      const socket = await dial(connect({ version: 5 }));
      await eventually(() => socket.bytes[0] === 0x20);
      await socket.send(bytes);
      await socket.untilEnded();
      expect(hexOf(socket).slice(-6)).toBe(`e001${reason.toString(16)}`);
    });
  });

  test.each([
    ['[MQTT-3.1.0-2] a second CONNECT', connect()],
    ['[MQTT-3.3.5-2] of 3.1.1: a PUBLISH, if they are rejected', hex('30 03 0001 74')],
    ['[MQTT-3.3.5-2] of 3.1.1: a PUBLISH of QoS 1', hex('32 05 0001 74 0001')],
    ['[MQTT-4.8.0-1] of 3.1.1: an invalid filter', hex('82 07 0001 0002 6123 01')],
  ])('3.1.1 closes for %s', async (_clause, bytes) => {
    await expectIncrease(CLOSED, { reason: 'unexpected_bytes' }, 1, async () => {
      const socket = await dial(connect());
      await eventually(() => hexOf(socket) === '20020000');
      await socket.send(bytes);
      await socket.untilEnded();
      expect(hexOf(socket)).toBe('20020000');
    });
  });

  test('a PUBACK of an unknown packet identifier, or a second one, confirms no push', async () => {
    await expectIncrease(IGNORED, { packet: 'puback' }, 3, async () => {
      const clientId = 'wrong-puback';
      const socket = await dial(connect({ clientId, flags: 0 }), SUBSCRIBE);
      await eventually(() => hexOf(socket).endsWith(SUBSCRIBED));
      await socket.send(hex('4002 0001 4002 0007'));
      await running.push.push(clientId, 'first');
      await eventually(() => hexOf(socket).endsWith(Buffer.from('first').toString('hex')));
      await socket.send(hex('4002 0001'));
      await running.push.push(clientId, 'second');
      await eventually(() => hexOf(socket).endsWith(Buffer.from('second').toString('hex')));
      await socket.send(hex('4002 0001 e000'));
      await socket.untilEnded();
      const again = await dial(connect({ clientId, flags: 0 }));
      await eventually(() => hexOf(again).includes(Buffer.from('second').toString('hex')));
      expect(hexOf(again)).not.toContain(Buffer.from('first').toString('hex'));
      // [MQTT-3.2.2-3]
      expect(hexOf(again).slice(0, 8)).toBe('20020100');
    });
  });

  test.each([
    // The length of the clientId is part of the expected packets.
    ['a closed connection', 'dup-01'],
    ['a replaced connection', 'dup-02'],
  ])(
    'pushes that %s has not confirmed are sent again unchanged, with DUP [MQTT-4.4.0-1]',
    async (connection, clientId) => {
      const first = await dial(connect({ clientId, flags: 0 }), SUBSCRIBE);
      await eventually(() => hexOf(first).endsWith(SUBSCRIBED));
      for (const payload of ['aa', 'bb']) await running.push.push(clientId, payload);
      const publish = (firstByte: string, packetId: string, payload: string) =>
        `${firstByte}11${field(`push/${clientId}`).toString('hex')}${packetId}${hexOfText(payload)}`;
      const sent = publish('32', '0001', 'aa') + publish('32', '0002', 'bb');
      await eventually(() => hexOf(first).endsWith(sent));
      await first.send(hex('4002 0001'));
      await first.send(hex('c000'));
      await eventually(() => hexOf(first).endsWith('d000'));
      if (connection === 'a closed connection') {
        first.close();
        await eventually(async () => (await running.metric('edge-1', CONNECTIONS)) === 2);
      }
      const again = await dial(connect({ clientId, flags: 0 }));
      await eventually(() => hexOf(again) === `20020100${publish('3a', '0002', 'bb')}`);
      await again.send(hex('4002 0002 e000'));
      await again.untilEnded();
    },
  );

  test('topics of other clients are rejected per filter, and none of their pushes arrives', async () => {
    const filters = ['push/healthy', 'push/healthy/#', '+', '$SYS/#', '$share/g/#', '/push/thief'];
    const requested = filters.flatMap((filter) => [field(filter), hex('01')]);
    const socket = await dial(
      connect({ clientId: 'thief' }),
      packet(0x82, hex('0001'), ...requested, field('#'), hex('01')),
    );
    await eventually(() => hexOf(socket) === '20020000' + '900900018080808080' + '8001');
    await running.push.push('thief', 'mine', LIVE);
    await eventually(() => hexOf(socket).endsWith(Buffer.from('mine').toString('hex')));
    expect(hexOf(socket)).not.toContain(Buffer.from('healthy').toString('hex'));
  });

  test('bytes after a DISCONNECT are ignored', async () => {
    const socket = await dial(connect(), hex('e000 c000'));
    await socket.untilEnded();
    expect(hexOf(socket)).toBe('20020000');
  });

  test('a connection with an incomplete packet is closed at the deadline', async () => {
    await expectIncrease(CLOSED, { reason: 'silent' }, 1, async () => {
      const socket = await dial(connect({ version: 5 }), hex('82 07 0001'));
      await socket.untilEnded(ENDED_MS_MAX);
      expect(hexOf(socket).slice(-6)).toBe('e0018d');
    });
  });

  test('a thousand PINGREQs are answered with one write', async () => {
    const socket = await dial(connect());
    await eventually(() => hexOf(socket) === '20020000');
    await socket.send(Buffer.concat(Array.from({ length: 1_000 }, () => hex('c000'))));
    await eventually(() => socket.bytes.length === 4 + 2_000);
    expect(hexOf(socket)).toBe(`20020000${'d000'.repeat(1_000)}`);
  });

  test('as many filters as fit into a packet are answered', async () => {
    const count = Math.floor((HEAD_BYTES_MAX - 10) / 4);
    const requested = Buffer.concat(Array.from({ length: count }, () => hex('0001 23 01')));
    const socket = await dial(connect(), packet(0x82, hex('0001'), requested));
    await eventually(() => socket.bytes.length > count);
    expect(hexOf(socket).endsWith('01'.repeat(count))).toBe(true);
    // 10^5 filters do not fit, and are rejected from the header.
    const tooMany = await dial(connect({ clientId: 'b' }), hex('82 80 b5 18'));
    await tooMany.untilEnded();
  });

  test('a RST and a FIN after the handshake end the connection', async () => {
    await expectIncrease(CLOSED, { reason: 'peer' }, 2, async () => {
      const reset = await dial(connect(), SUBSCRIBE);
      await eventually(() => hexOf(reset).endsWith(SUBSCRIBED));
      reset.reset();
      const fin = await dial(connect({ clientId: 'b' }), SUBSCRIBE);
      await eventually(() => hexOf(fin).endsWith(SUBSCRIBED));
      fin.halfClose();
      await fin.untilEnded();
      await eventually(
        async () => (await running.metric('edge-1', 'longline_edge_connections')) === 2,
      );
    });
  });

  test('payloads with line ends, NULs and bytes that are not UTF-8 arrive unchanged', async () => {
    const socket = await dial(connect({ clientId: 'bytes' }), SUBSCRIBE);
    await eventually(() => hexOf(socket).endsWith(SUBSCRIBED));
    const payload = Buffer.from('a\r\n\0\rb\n\n\xff\xfe', 'latin1');
    await running.push.push('bytes', payload, LIVE);
    await eventually(() => hexOf(socket).endsWith(payload.toString('hex')));
  });
});
