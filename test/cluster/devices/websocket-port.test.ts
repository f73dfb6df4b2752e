/**
 * Goal: each violation of RFC 6455 gets the response that its clause requires, is counted, and does
 * not affect other clients. Method: one edge as a process, raw sockets against its device port.
 * During each case a well-behaved client is connected to the same edge: it must stay connected and
 * receive a push afterwards, and the counter with the label of the case must have increased by one.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { useHealthyClient, watchMetric } from '../../support/cluster/healthy-client.js';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { type Frame, maskedFrame } from '../../support/devices/masked-frame.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { eventually } from '../../support/eventually.js';

const PAGE = 'https://app.example';
const REJECTED = 'longline_edge_requests_rejected_total';
const CLOSED = 'longline_edge_connections_closed_total';
const FAILED = 'longline_edge_websocket_failures_total';
const HEARTBEAT_MS = 1_000;
const PING_ROUNDS_MAX = 1_000;

let running: RunningCluster;
let port: number;
const sockets: RawSocket[] = [];

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: 1,
    env: { LONGLINE_EDGE_HEARTBEAT_MS: `${HEARTBEAT_MS}`, LONGLINE_CORS_ORIGINS: PAGE },
  });
  port = Number(new URL(running.cluster.edgeUrl('edge-1')).port);
});

afterAll(() => running?.stop());

useHealthyClient(() => running, sockets);

const watchCounter = (metric: string, label: Record<string, string>) =>
  watchMetric(running, metric, label);

const KEY = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';
const UPGRADE = ['Upgrade: websocket', 'Connection: Upgrade', KEY, 'Sec-WebSocket-Version: 13'];

function request(clientId: string, headers: readonly string[], method = 'GET'): string {
  const line = `${method} /connect?clientId=${clientId} HTTP/1.1`;
  return [line, 'Host: edge', ...headers, '', ''].join('\r\n');
}

async function dial(): Promise<RawSocket> {
  const socket = await RawSocket.connect(port);
  sockets.push(socket);
  return socket;
}

/** Opens a WebSocket over a raw socket. */
async function open(clientId: string, ...headers: string[]): Promise<RawSocket> {
  const socket = await dial();
  await socket.send(request(clientId, [...UPGRADE, ...headers]));
  await eventually(() => socket.status !== undefined);
  expect(socket.status).toBe(101);
  return socket;
}

/** Received bytes after the response head, without heartbeats, in hex. */
function framesOf(socket: RawSocket): string {
  const hex = socket.bytes.toString('hex');
  const end = Buffer.from('\r\n\r\n').toString('hex');
  return hex.slice(hex.indexOf(end) + end.length).replaceAll(/^(8900)+/g, '');
}

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const frames = (...all: Frame[]) => Buffer.concat(all.map(maskedFrame));

describe('an upgrade', () => {
  test.each<[string, string[], number, string]>([
    ['§4.2.1 4. without Connection', UPGRADE.toSpliced(1, 1), 400, 'REQUEST_MALFORMED'],
    ['§4.2.1 5. without key', UPGRADE.toSpliced(2, 1), 400, 'REQUEST_MALFORMED'],
    ['§4.4 without version', UPGRADE.toSpliced(3, 1), 426, 'WEBSOCKET_VERSION_UNSUPPORTED'],
    [
      '§4.4 of version 8',
      [...UPGRADE.slice(0, 3), 'Sec-WebSocket-Version: 8'],
      426,
      'WEBSOCKET_VERSION_UNSUPPORTED',
    ],
    [
      '§10.2 by a foreign page',
      [...UPGRADE, 'Origin: https://evil.example'],
      403,
      'ORIGIN_NOT_ALLOWED',
    ],
    [
      '§10.2 by a page with an opaque origin',
      [...UPGRADE, 'Origin: null'],
      403,
      'ORIGIN_NOT_ALLOWED',
    ],
  ])('%s is rejected', async (_clause, headers, status, code) => {
    const increased = await watchCounter(REJECTED, { code });
    const socket = await dial();
    await socket.send(request('upgrade', headers));
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([status, code]);
    if (status === 426) expect(socket.text).toContain('\r\nSec-WebSocket-Version: 13\r\n');
    await increased();
  });

  test('§4.2.1 1. other than GET is rejected', async () => {
    const increased = await watchCounter(REJECTED, { code: 'METHOD_NOT_ALLOWED' });
    const socket = await dial();
    await socket.send(request('upgrade', UPGRADE, 'POST'));
    await socket.untilEnded();
    expect(socket.status).toBe(405);
    await increased();
  });

  test('§10.2 by a page on the list is accepted', async () => {
    await open('page', `Origin: ${PAGE}`);
  });

  test.each([
    ['Host: edge:443', 'Origin: https://edge'],
    ['Host: EDGE', 'Origin: http://edge:80'],
    ['Host: edge:7000', 'Origin: ws://edge:7000'],
  ])('RFC 6454 §4 by a page of the same host is accepted: %s, %s', async (host, origin) => {
    const socket = await dial();
    await socket.send(request('same-host', [...UPGRADE, origin]).replace(/Host: .*/, host));
    await socket.untilText('\r\n\r\n');
    expect(socket.status).toBe(101);
  });

  test('RFC 9931: with bytes after it, before the response, is rejected', async () => {
    const increased = await watchCounter(REJECTED, { code: 'REQUEST_MALFORMED' });
    const socket = await dial();
    await socket.send(
      Buffer.concat([Buffer.from(request('hasty', UPGRADE)), hex('8980 00000000')]),
    );
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([400, 'REQUEST_MALFORMED']);
    await increased();
  });

  test('RFC 9110 §7.8 to something else is ignored', async () => {
    const socket = await dial();
    await socket.send(request('h2c', ['Upgrade: h2c', 'Connection: Upgrade, HTTP2-Settings']));
    await socket.untilText('retry: ');
    expect(socket.status).toBe(200);
  });
});

describe('RFC 6455: a connection fails for', () => {
  test.each([
    ['§5.1 a frame without mask', '81 01 61', '1002'],
    ['§5.2 a reserved bit', 'c1 81 00000000 61', '1002'],
    ['§5.2 a reserved opcode', '83 80 00000000', '1002'],
    ['§5.2 a length that is not minimal', '82 fe 0001 00000000 00', '1002'],
    ['§5.2 a length with its first bit set', '82 ff 8000000000000000', '1009'],
    ['§10.4 a message that is announced as 256 MB', '82 ff 0000000010000000', '1009'],
    ['§5.4 a continuation of nothing', '80 80 00000000', '1002'],
    ['§5.4 a message within a message', '01 80 00000000 81 80 00000000', '1002'],
    ['§5.5 a control frame in fragments', '09 80 00000000', '1002'],
    ['§5.5 a control frame of 126 bytes', '89 fe 007e', '1002'],
    ['§5.5.1 a close frame of one byte', '88 81 00000000 03', '1002'],
    ['§7.4.1 the close code 1005', '88 82 00000000 03ed', '1002'],
    ['§7.4.1 the close code 1006', '88 82 00000000 03ee', '1002'],
    ['§7.4.2 the close code 999', '88 82 00000000 03e7', '1002'],
    ['§8.1 text that is not UTF-8', '81 82 00000000 c328', '1007'],
  ])('%s', async (_clause, bytes, code) => {
    const [failed, ended] = [
      await watchCounter(FAILED, { code }),
      await watchCounter(CLOSED, { reason: 'unexpected_bytes' }),
    ];
    const socket = await open('rude');
    await socket.send(hex(bytes));
    await socket.untilEnded();
    const frame = Buffer.from(framesOf(socket), 'hex');
    expect([frame[0], frame.readUInt16BE(2)]).toEqual([0x88, Number(code)]);
    expect(frame.length).toBe(2 + frame[1]!);
    expect(socket.errorCode).toBeUndefined();
    await failed();
    await ended();
  });

  test('CVE-2026-48779: a message in fragments of one byte or zero bytes', async () => {
    for (const payload of [Buffer.from('x'), Buffer.alloc(0)]) {
      const failed = await watchCounter(FAILED, { code: '1008' });
      const socket = await open('crumbs');
      const first: Frame = { opcode: 1, payload, isFinal: false };
      const more = Array.from({ length: 1_000 }, () => ({ ...first, opcode: 0 }));
      await socket.send(frames(first, ...more));
      await socket.untilEnded();
      expect(framesOf(socket)).toMatch(/^88..03f0/);
      await failed();
    }
  });

  test('§5.5.2 a flood of pings', async () => {
    const ended = await watchCounter(CLOSED, { reason: 'flooding' });
    const socket = await open('flood');
    const pings = frames(
      ...Array.from({ length: 500 }, (): Frame => ({ opcode: 9, payload: Buffer.alloc(0) })),
    );
    for (let i = 0; i < PING_ROUNDS_MAX && !socket.isEnded; i++) {
      await socket.send(pings);
      // Writes to a closed socket succeed at once, and its close event needs another turn.
      await nextTurn();
    }
    await socket.untilEnded();
    expect(framesOf(socket)).toMatch(/^(8a00|8900)+88..03f0/);
    await ended();
  });
});

describe('a well-behaved connection', () => {
  test('§5.5.2 receives a pong for a ping within a message, sent byte by byte', async () => {
    const socket = await open('ping');
    const bytes = frames(
      { opcode: 1, payload: Buffer.from('a'), isFinal: false },
      { opcode: 9, payload: Buffer.from('are you there') },
      { opcode: 0, payload: Buffer.from('b') },
    );
    for (const byte of bytes) await socket.send(Buffer.of(byte));
    await eventually(() =>
      framesOf(socket).includes(`8a0d${Buffer.from('are you there').toString('hex')}`),
    );
    expect(socket.isEnded).toBe(false);
  });

  test('§5.5.1, §7.1.2 receives an echo of its close frame', async () => {
    const ended = await watchCounter(CLOSED, { reason: 'peer' });
    const socket = await open('leaver');
    await socket.send(hex('88 85 00000000 03e8 627965 89 80 00000000'));
    await socket.untilEnded();
    expect(framesOf(socket)).toBe('880203e8');
    await ended();
    expect((await running.push.push('leaver', 'x', LIVE)).verdict).toBe('OFFLINE');
  });

  test('ends after a FIN and after a RST of the client', async () => {
    for (const ending of ['halfClose', 'reset'] as const) {
      const ended = await watchCounter(CLOSED, { reason: 'peer' });
      const socket = await open('torn');
      socket[ending]();
      await ended();
    }
  });

  test('is closed after three heartbeats without a pong', async () => {
    const ended = await watchCounter(CLOSED, { reason: 'silent' });
    const socket = await open('silent');
    await socket.untilEnded();
    expect(framesOf(socket)).toMatch(/^88..03f0/);
    await ended();
  });
});

test('a client that stops reading is disconnected, and other clients are not affected', async () => {
  const ended = await watchCounter(CLOSED, { reason: 'slow' });
  const socket = await open('slow');
  const answering = setInterval(
    () => void socket.send(frames({ opcode: 10, payload: Buffer.alloc(0) })),
    HEARTBEAT_MS,
  );
  try {
    socket.stopReading();
    const payload = 'x'.repeat(256 * 1024);
    let verdict = '';
    for (let i = 0; verdict !== 'SLOW' && i < 400; i++) {
      verdict = (await running.push.push('slow', payload, LIVE)).verdict;
    }
    expect(verdict).toBe('SLOW');
    await ended();
  } finally {
    clearInterval(answering);
  }
});
