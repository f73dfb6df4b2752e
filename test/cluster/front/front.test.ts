/**
 * Goal: a device that connects to the front of a router is served by the owner of its shard, in
 * every protocol, and the edge sees the device's address, which the device cannot forge. Method:
 * processes on a real Redis; two routers, both with a front; devices that connect only to a front.
 */
import { spawn } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { EventSource } from 'eventsource';
import { parseEndpoint } from '../../../common/net/ip-address.js';
import { proxyHeader } from '../../../common/wire/proxy-protocol.js';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { openWs } from '../../support/devices/websocket-client.js';
import { eventually } from '../../support/eventually.js';

const HEAD_TIMEOUT_MS = 1_500;

let running: RunningCluster;
const sockets: RawSocket[] = [];
const streams: SseClient[] = [];

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: 3,
    routers: 2,
    restart: false,
    env: {
      LONGLINE_PROXY_NETWORKS: '127.0.0.9',
      LONGLINE_ROUTER_FRONT_HEAD_TIMEOUT_MS: `${HEAD_TIMEOUT_MS}`,
    },
  });
});

afterAll(() => running?.stop());

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  for (const stream of streams.splice(0)) stream.close();
});

function frontUrl(clientId: string, router = 'router'): string {
  return `${running.cluster.frontUrl(router)}/connect?clientId=${encodeURIComponent(clientId)}`;
}

async function dial(router = 'router', from = '127.0.0.1'): Promise<RawSocket> {
  const { port } = new URL(running.cluster.frontUrl(router));
  const socket = await RawSocket.connect(Number(port), from);
  sockets.push(socket);
  return socket;
}

async function open(clientId: string, router = 'router'): Promise<SseClient> {
  const stream = await SseClient.openOnce(frontUrl(clientId, router));
  streams.push(stream);
  return stream;
}

function request(clientId: string, headers = ''): string {
  return `GET /connect?clientId=${clientId} HTTP/1.1\r\nHost: front\r\n${headers}\r\n`;
}

const rejectedAt = (router: string, code: string) =>
  running.metric(router, 'longline_router_front_rejected_total', { code });

const devicesAt = (router: string) => running.metric(router, 'longline_router_front_devices');

describe('a device that connects to a front', () => {
  test('is served by the owner of its shard, never redirected, under its own address', async () => {
    for (const edge of running.cluster.namesOf('edge')) {
      const clientId = await running.clientIdOf(edge, `own-${edge}`);
      const stream = await open(clientId);
      expect(await running.push.push(clientId, 'hello', LIVE)).toMatchObject({
        verdict: 'WRITTEN',
      });
      await stream.until(1);
      const { connections } = await running.push.presence(clientId);
      const { localPort } = stream.response.socket;
      expect(connections).toEqual([
        expect.objectContaining({
          edgeId: edge,
          guest: false,
          remoteAddress: `127.0.0.1:${localPort}`,
        }),
      ]);
    }
  });

  test('resumes after the newest id that it received', async () => {
    const stream = await open('resumer');
    const first = await running.push.push('resumer', 'one');
    await stream.until(1);
    stream.close();
    await eventually(
      async () => (await running.push.push('resumer', 'x', LIVE)).verdict === 'OFFLINE',
    );
    await running.push.push('resumer', 'two');
    const headers = { 'last-event-id': first.messageId };
    const again = await SseClient.openOnce(frontUrl('resumer', 'router-2'), { headers });
    streams.push(again);
    await again.until(1);
    expect(again.data).toEqual(['two']);
  });

  test('is served if it sends its head in pieces', async () => {
    const socket = await dial();
    for (const byte of request('pieces')) await socket.send(byte);
    await socket.untilText('retry: 1000\n');
    expect(socket.status).toBe(200);
  });

  test('can be curl or an EventSource', async () => {
    const source = new EventSource(frontUrl('event-source'));
    try {
      const data = new Promise((resolve) => {
        source.onmessage = (event) => resolve(event.data);
      });
      await eventually(
        async () => (await running.push.push('event-source', 'hi', LIVE)).verdict === 'WRITTEN',
      );
      expect(await data).toBe('hi');
    } finally {
      source.close();
    }
    await running.push.push('curl', 'stored');
    const curl = spawn('curl', ['-sS', '-N', frontUrl('curl')]);
    try {
      let printed = '';
      curl.stdout.setEncoding('utf8').on('data', (text) => (printed += text));
      await eventually(() => expect(printed).toContain('stored'));
    } finally {
      curl.kill();
    }
  });

  test('does not block others while it does not read, and receives stored pushes when it does', async () => {
    const socket = await dial();
    await socket.send(request('stalled'));
    await socket.untilText('retry');
    // Until then, a push is STORED because the device is catching up.
    await running.untilCaughtUp();
    socket.stopReading();
    const payload = 'x'.repeat(500_000);
    // Until all buffers between edge and device are full.
    let sent = 0;
    await eventually(async () => {
      const { verdict } = await running.push.push('stalled', payload, { waitMs: 500 });
      sent++;
      expect(verdict).toBe('STORED');
    });
    expect(sent).toBeGreaterThan(1);
    const other = await open(await running.clientIdOf('edge-1', 'unaffected'));
    expect(other.isOpen).toBe(true);
    socket.resumeReading();
    await eventually(() => socket.text.length > sent * 400_000 || socket.isEnded);
  });

  test('is disconnected by its edge after a FIN, and the front closes both connections', async () => {
    await eventually(async () => expect(await devicesAt('router')).toBe(0));
    const socket = await dial();
    await socket.send(request('half-closed'));
    await socket.untilText('retry');
    expect(await devicesAt('router')).toBe(1);
    socket.halfClose();
    await socket.untilEnded();
    await eventually(async () => expect(await devicesAt('router')).toBe(0));
    expect((await running.push.presence('half-closed')).connections).toEqual([]);
  });

  test('is disconnected by its edge after unexpected bytes, as without a front', async () => {
    const socket = await dial();
    await socket.send(`${request('talker')}GET / HTTP/1.1\r\n\r\n`);
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([400, 'REQUEST_MALFORMED']);
    const late = await dial();
    await late.send(request('talker'));
    await late.untilText('retry');
    await late.send('more');
    await late.untilEnded();
  });
});

describe('a WebSocket through a front', () => {
  test('is served by the owner, in both directions, and is no guest', async () => {
    const edge = running.cluster.namesOf('edge')[1]!;
    const clientId = await running.clientIdOf(edge, 'socket');
    const client = await openWs(frontUrl(clientId), 'longline.json');
    try {
      expect(client.protocol).toBe('longline.json');
      await running.untilCaughtUp();
      expect(await running.push.push(clientId, 'hello')).toMatchObject({ verdict: 'WRITTEN' });
      await client.untilReceived(2);
      expect(client.envelopes).toEqual([
        expect.objectContaining({ type: 'welcome', clientId }),
        expect.objectContaining({ type: 'push', data: 'hello' }),
      ]);
      await client.send('{"type":"ping"}');
      await client.untilReceived(3);
      expect(client.envelopes.at(-1)).toEqual({ type: 'pong' });
      const { connections } = await running.push.presence(clientId);
      expect(connections).toEqual([expect.objectContaining({ edgeId: edge, guest: false })]);
      expect(connections[0]!.remoteAddress).toMatch(/^127\.0\.0\.1:/);
      await running.push.disconnect(clientId);
      expect(await client.untilClosed()).toMatchObject({ code: 1000 });
    } finally {
      await client.end();
    }
  });

  test('without a subprotocol receives frames, and is replaced by a newer connection', async () => {
    const one = await openWs(frontUrl('plain'));
    const two = await openWs(frontUrl('plain', 'router-2'));
    try {
      expect(await one.untilClosed()).toMatchObject({ code: 4001 });
      await running.push.push('plain', Buffer.from([0, 255]), LIVE);
      await two.untilReceived(1);
      expect(two.received).toEqual([{ kind: 'binary', payload: Buffer.from([0, 255]) }]);
    } finally {
      await Promise.all([one.end(), two.end()]);
    }
  });
});

describe.each([4, 5] as const)('an MQTT client (level %i) through a front', (protocolVersion) => {
  const port = (router = 'router') => Number(new URL(running.cluster.frontUrl(router)).port);

  test('is served by the owner, confirms, and resumes its session through another router', async () => {
    const edge = running.cluster.namesOf('edge')[2]!;
    const clientId = await running.clientIdOf(edge, `mqtt-${protocolVersion}`);
    const options = {
      protocolVersion,
      clean: false,
      ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 600 } } : {}),
    };
    const device = await MqttDevice.connect(port(), clientId, options);
    expect(await device.subscribe(`push/${clientId}`)).toEqual([1]);
    await running.push.push(clientId, 'one');
    await device.until(1);
    const { connections } = await running.push.presence(clientId);
    expect(connections).toEqual([expect.objectContaining({ edgeId: edge, guest: false })]);
    expect(connections[0]!.remoteAddress).toMatch(/^127\.0\.0\.1:/);
    device.drop();
    await eventually(
      async () => (await running.push.push(clientId, 'x', LIVE)).verdict === 'OFFLINE',
    );
    await running.push.push(clientId, 'two');
    const again = await MqttDevice.connect(port('router-2'), clientId, options);
    await again.until(1);
    expect(again.payloads).toEqual(['two']);
    await again.close();
  });
});

describe('an invalid connect request', () => {
  test.each([
    ['another path', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 404, 'NOT_FOUND'],
    ['no clientId', 'GET /connect HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'CLIENT_ID_INVALID'],
    [
      'two Hosts',
      'GET /connect?clientId=a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n',
      400,
      'REQUEST_MALFORMED',
    ],
    [
      'a folded line',
      'GET /connect?clientId=a HTTP/1.1\r\nHost: x\r\n y\r\n\r\n',
      400,
      'REQUEST_MALFORMED',
    ],
    [
      'a bare LF',
      'GET /connect?clientId=a HTTP/1.1\r\nHost: x\nX: y\r\n\r\n',
      400,
      'REQUEST_MALFORMED',
    ],
    [
      'two lengths',
      request('a', 'Content-Length: 0\r\nContent-Length: 0\r\n'),
      400,
      'REQUEST_MALFORMED',
    ],
    ['chunks', request('a', 'Transfer-Encoding: chunked\r\n'), 400, 'REQUEST_MALFORMED'],
    ['a body', request('a', 'Content-Length: 1\r\n'), 400, 'REQUEST_MALFORMED'],
    [
      'an endless head',
      `GET /connect?clientId=a HTTP/1.1\r\nX: ${'y'.repeat(9_000)}`,
      431,
      'HEAD_TOO_LARGE',
    ],
    ['101 header lines', request('a', 'X: y\r\n'.repeat(100)), 431, 'HEAD_TOO_LARGE'],
    ['Redis', '*1\r\n$4\r\nPING\r\n', 400, 'REQUEST_MALFORMED'],
    [
      'PROXY v1 from an unknown network',
      `PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n${request('a')}`,
      403,
      'PROXY_NOT_ALLOWED',
    ],
    [
      'PROXY v2 from an unknown network',
      Buffer.from('0d0a0d0a000d0a515549540a', 'hex'),
      403,
      'PROXY_NOT_ALLOWED',
    ],
  ] as const)('with %s is rejected as by an edge, and counted', async (_, bytes, status, code) => {
    const before = await rejectedAt('router', code);
    const socket = await dial();
    await socket.send(bytes);
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([status, code]);
    await eventually(async () => expect(await rejectedAt('router', code)).toBe(before + 1));
  });

  test('that drips is answered with 408 at the deadline', async () => {
    const socket = await dial();
    const head = request('slow').slice(0, -2);
    const dripping = setInterval(() => void socket.send('X: y\r\n'), 100);
    await socket.send(head);
    const sinceMs = performance.now();
    await socket.untilEnded();
    clearInterval(dripping);
    expect([socket.status, socket.code]).toEqual([408, 'HEAD_TIMEOUT']);
    // Below the default of the timeout. The rest of it is for a busy machine.
    expect(performance.now() - sinceMs).toBeLessThan(9_000);
  });

  test('of MQTT without a clientId is rejected with a CONNACK', async () => {
    const socket = await dial();
    // CONNECT, MQTT 3.1.1, no clean session, empty clientId: [MQTT-3.1.3-8] of 3.1.1.
    await socket.send(Buffer.from('100c00044d5154540400003c0000', 'hex'));
    await socket.untilEnded();
    expect(Buffer.from(socket.text, 'latin1').toString('hex')).toBe('20020002');
  });
});

describe('a PROXY header', () => {
  const source = parseEndpoint('198.51.100.7:4711')!;
  const header = proxyHeader(source, parseEndpoint('203.0.113.1:443')!, []);

  test.each([
    ['version 1', Buffer.from('PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\r\n'), 'one'],
    ['version 2', header, 'two'],
  ])(
    'of a proxy, in %s, sets the address in the presence of the device',
    async (_, bytes, clientId) => {
      const socket = await dial('router', '127.0.0.9');
      await socket.send(Buffer.concat([bytes, Buffer.from(request(clientId))]));
      await socket.untilText('retry');
      const { connections } = await running.push.presence(clientId);
      expect(connections[0]).toMatchObject({ remoteAddress: '198.51.100.7:4711' });
    },
  );

  test('of a proxy is accepted by an edge as well, byte by byte', async () => {
    const clientId = await running.clientIdOf('edge-1', 'proxied');
    const { port } = new URL(running.cluster.edgeUrl('edge-1'));
    const socket = await RawSocket.connect(Number(port), '127.0.0.9');
    sockets.push(socket);
    for (const byte of header) await socket.send(Buffer.of(byte));
    await socket.send(request(clientId));
    await socket.untilText('retry');
    const { connections } = await running.push.presence(clientId);
    expect(connections[0]).toMatchObject({ remoteAddress: '198.51.100.7:4711' });
  });

  test('is rejected if it is sent twice', async () => {
    const socket = await dial('router', '127.0.0.9');
    await socket.send(Buffer.concat([header, header, Buffer.from(request('twice'))]));
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([400, 'REQUEST_MALFORMED']);
  });

  test('that is malformed is rejected', async () => {
    const socket = await dial('router', '127.0.0.9');
    await socket.send('PROXY TCP4 198.51.100.7 203.0.113.1 04711 443\r\n');
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([400, 'PROXY_MALFORMED']);
  });
});
