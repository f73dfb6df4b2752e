/**
 * Goal: whatever a peer sends to an edge, or fails to send or to read, gets a precise answer or a
 * clean close, is counted, and harms nobody else.
 * Method: one edge as a process of its own, raw sockets against its device port. Around each case a
 * well-behaved client on the same edge: it must stay connected and get a push afterwards, and the
 * counter with the case's label must have gone up by one.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';

const HEAD_TIMEOUT_MS = 1_500;
const HEAD_BYTES_MAX = 8_192;
const CONNECTIONS_MAX = 40;
const REFUSED = 'longline_edge_requests_rejected_total';
const ENDED = 'longline_edge_connections_closed_total';

let running: RunningCluster;
let port: number;
let healthy: SseClient;
const sockets: RawSocket[] = [];

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: 1,
    env: {
      LONGLINE_EDGE_HEAD_TIMEOUT_MS: `${HEAD_TIMEOUT_MS}`,
      LONGLINE_EDGE_CONNECTIONS_MAX: `${CONNECTIONS_MAX}`,
      // What the client that does not read is owed in the end is more than the default.
      LONGLINE_ROUTER_INBOX_BYTES_MAX: `${256 * 1024 * 1024}`,
    },
  });
  port = Number(new URL(running.cluster.edgeUrl('edge-1')).port);
}, 90_000);

afterAll(() => running?.stop(), 30_000);

beforeEach(async () => {
  healthy = await SseClient.open(running.connectUrl('healthy'));
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  expect(await running.push.push('healthy', 'still here', LIVE)).toMatchObject({
    verdict: 'WRITTEN',
  });
  await healthy.until(1);
  expect(healthy.data).toEqual(['still here']);
  expect(healthy.isOpen).toBe(true);
  healthy.close();
  // The next test counts ends: this one must be over.
  await eventually(async () => (await running.metric('edge-1', 'longline_edge_connections')) === 0);
});

async function dial(): Promise<RawSocket> {
  const socket = await RawSocket.connect(port);
  sockets.push(socket);
  return socket;
}

/** Resolves with a check that the labelled counter has gone up by one since. */
async function watch(metric: string, label: Record<string, string>) {
  const before = await running.metric('edge-1', metric, label);
  return async (by = 1) => {
    await eventually(async () => {
      expect(await running.metric('edge-1', metric, label)).toBe(before + by);
    });
  };
}

function request(clientId: string, ...headers: string[]): string {
  return [`GET /connect?clientId=${clientId} HTTP/1.1`, 'Host: edge', ...headers, '', ''].join(
    '\r\n',
  );
}

/** Connects a client by hand; resolves when it is answered. */
async function connectRaw(clientId: string): Promise<RawSocket> {
  const socket = await dial();
  await socket.send(request(clientId));
  await socket.untilText('retry: ');
  return socket;
}

describe('a request head', () => {
  test('is understood when it comes byte by byte', async () => {
    const socket = await dial();
    for (const byte of Buffer.from(request('byte-by-byte', 'X-Padding: 0123456789'))) {
      await socket.send(Uint8Array.of(byte));
    }
    await socket.untilText('retry: ');
    const { verdict } = await running.push.push('byte-by-byte', 'hello', LIVE);
    expect(verdict).toBe('WRITTEN');
    await socket.untilText('data: hello\n\n');
  });

  test('is understood after one empty line', async () => {
    const socket = await dial();
    await socket.send(`\r\n${request('empty-line')}`);
    await socket.untilText('retry: ');
  });

  /** A head of exactly `size` bytes. */
  const headOf = (size: number) => {
    const empty = request('large', 'X-Padding: ');
    return request('large', `X-Padding: ${'x'.repeat(size - empty.length)}`);
  };

  test.each([HEAD_BYTES_MAX - 1, HEAD_BYTES_MAX])('of %i bytes is served', async (size) => {
    const socket = await dial();
    expect(headOf(size)).toHaveLength(size);
    await socket.send(headOf(size));
    await socket.untilText('retry: ');
  });

  test('of one byte too many is answered 431', async () => {
    const wentUp = await watch(REFUSED, { code: 'HEAD_TOO_LARGE' });
    const socket = await dial();
    await socket.send(headOf(HEAD_BYTES_MAX + 1));
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([431, 'HEAD_TOO_LARGE']);
    await wentUp();
  });

  test('that never ends is answered 431 while it is still being sent', async () => {
    const wentUp = await watch(REFUSED, { code: 'HEAD_TOO_LARGE' });
    const socket = await dial();
    await socket.send('GET /connect?clientId=endless HTTP/1.1\r\nX: ');
    await socket.send('x'.repeat(64 * 1024));
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([431, 'HEAD_TOO_LARGE']);
    await wentUp();
  });

  test('of 101 lines is answered 431', async () => {
    const wentUp = await watch(REFUSED, { code: 'HEAD_TOO_LARGE' });
    const socket = await dial();
    await socket.send(request('many', ...Array.from({ length: 100 }, (_, i) => `X-${i}: y`)));
    await socket.untilEnded();
    expect(socket.status).toBe(431);
    await wentUp();
  });

  test('that drips is answered 408 at the absolute deadline, as are silence and one byte', async () => {
    const wentUp = await watch(REFUSED, { code: 'HEAD_TIMEOUT' });
    const startMs = performance.now();
    const [dripping, silent, oneByte] = await Promise.all([dial(), dial(), dial()]);
    await oneByte.send('G');
    const bytes = Buffer.from(request('slow'));
    let sent = 0;
    const drip = setInterval(() => {
      void dripping.send(bytes.subarray(sent % bytes.length, (sent % bytes.length) + 1));
      sent++;
      // Never complete: it would take many times the deadline.
    }, 100);
    try {
      for (const socket of [dripping, silent, oneByte]) {
        await socket.untilEnded();
        expect([socket.status, socket.code]).toEqual([408, 'HEAD_TIMEOUT']);
      }
    } finally {
      clearInterval(drip);
    }
    // It dripped all the while, and not a moment was added for it.
    expect(sent).toBeGreaterThan(5);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(HEAD_TIMEOUT_MS);
    await wentUp(3);
  });
});

describe('another protocol', () => {
  test.each([
    // Record header and the start of a ClientHello.
    ['TLS', Buffer.from('16030100c8010000c40303', 'hex')],
    ['Redis', '*1\r\n$4\r\nPING\r\n'],
    ['noise', Buffer.from('00ff00ff', 'hex')],
  ])('such as %s is rejected at its first bytes', async (_, bytes) => {
    const wentUp = await watch(REFUSED, { code: 'REQUEST_MALFORMED' });
    const socket = await dial();
    await socket.send(bytes);
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([400, 'REQUEST_MALFORMED']);
    await wentUp();
  });

  test('such as HTTP/2 with prior knowledge is told which version is spoken', async () => {
    const wentUp = await watch(REFUSED, { code: 'HTTP_VERSION_UNSUPPORTED' });
    const socket = await dial();
    await socket.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([505, 'HTTP_VERSION_UNSUPPORTED']);
    await wentUp();
  });

  test.each([
    ['version 1', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n')],
    ['version 2', Buffer.from('0d0a0d0a000d0a515549540a', 'hex')],
  ])('such as a PROXY header of %s is rejected of whoever is no proxy', async (_, bytes) => {
    const wentUp = await watch(REFUSED, { code: 'PROXY_NOT_ALLOWED' });
    const socket = await dial();
    await socket.send(bytes);
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([403, 'PROXY_NOT_ALLOWED']);
    await wentUp();
  });

  test('such as SSH, which begins like a request, is answered 408 at the deadline', async () => {
    const wentUp = await watch(REFUSED, { code: 'HEAD_TIMEOUT' });
    const socket = await dial();
    await socket.send('SSH-2.0-OpenSSH_9.2p1\r\n');
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([408, 'HEAD_TIMEOUT']);
    await wentUp();
  });
});

describe('a request that two parsers could read differently', () => {
  const line = 'GET /connect?clientId=smuggler HTTP/1.1\r\n';
  test.each([
    ['two Hosts', `${line}Host: a\r\nHost: b\r\n\r\n`],
    ['no Host', `${line}\r\n`],
    ['a folded line', `${line}Host: a\r\nX: y\r\n z\r\n\r\n`],
    ['a bare LF in a value', `${line}Host: a\nX: y\r\n\r\n`],
    ['a bare CR in a value', `${line}Host: a\rX: y\r\n\r\n`],
    ['a blank before the colon', `${line}Host : a\r\n\r\n`],
    ['NUL in a value', `${line}Host: a\r\nX: \0\r\n\r\n`],
    [
      'length and chunks',
      `${line}Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
    ],
    ['chunks', `${line}Host: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['a length with a sign', `${line}Host: a\r\nContent-Length: +0\r\n\r\n`],
    ['two lengths', `${line}Host: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n`],
    ['two cursors', `${line}Host: a\r\nLast-Event-ID: 1-1\r\nLast-Event-ID: 2-2\r\n\r\n`],
    ['a body', `${line}Host: a\r\nContent-Length: 5\r\n\r\nhello`],
    ['a body that nobody announced', `${line}Host: a\r\n\r\nhello`],
    ['a second request behind it', `${line}Host: a\r\n\r\n${line}Host: a\r\n\r\n`],
    ['two blanks in its line', 'GET  /connect?clientId=a HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a byte over 127 in its target', 'GET /connect?clientId=\xff HTTP/1.1\r\nHost: a\r\n\r\n'],
  ])('is rejected with 400 and closed: %s', async (_, bytes) => {
    const wentUp = await watch(REFUSED, { code: 'REQUEST_MALFORMED' });
    const socket = await dial();
    await socket.send(Buffer.from(bytes, 'latin1'));
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([400, 'REQUEST_MALFORMED']);
    // One answer, whatever followed.
    expect(socket.text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(socket.text).toContain('Connection: close\r\n');
    await wentUp();
  });

  test.each(['HTTP/0.9', 'HTTP/2.0', 'HTTP/9.9'])('is rejected with 505: %s', async (version) => {
    const wentUp = await watch(REFUSED, { code: 'HTTP_VERSION_UNSUPPORTED' });
    const socket = await dial();
    await socket.send(`GET /connect?clientId=a ${version}\r\nHost: a\r\n\r\n`);
    await socket.untilEnded();
    expect(socket.status).toBe(505);
    await wentUp();
  });
});

describe('a connection that was answered', () => {
  test('ends when its client asks for something else', async () => {
    const wentUp = await watch(ENDED, { reason: 'unexpected_bytes' });
    const socket = await connectRaw('pipeliner');
    await socket.send(request('somebody-else'));
    await socket.untilEnded();
    expect(socket.text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect((await running.push.presence('somebody-else')).connections).toEqual([]);
    await wentUp();
  });

  test('ends when its client closes its half', async () => {
    const wentUp = await watch(ENDED, { reason: 'peer' });
    const socket = await connectRaw('half-closed');
    socket.halfClose();
    await socket.untilEnded();
    expect(socket.errorCode).toBeUndefined();
    expect((await running.push.push('half-closed', 'x', LIVE)).verdict).toBe('OFFLINE');
    await wentUp();
  });

  test('ends when its client resets it', async () => {
    const wentUp = await watch(ENDED, { reason: 'peer' });
    const socket = await connectRaw('resetter');
    socket.reset();
    await wentUp();
    expect((await running.push.push('resetter', 'x', LIVE)).verdict).toBe('OFFLINE');
  });
});

test('resets and half-closes before and within a head leave nothing behind', async () => {
  const wentUp = await watch(ENDED, { reason: 'peer' });
  for (let i = 0; i < 50; i++) {
    const socket = await dial();
    if (i % 3 > 0) await socket.send(request(`torn-${i}`).slice(0, 1 + i));
    if (i % 2 === 0) socket.reset();
    else socket.halfClose();
  }
  for (const socket of sockets) await socket.untilEnded();
  await wentUp(0);
  expect(await running.metric('edge-1', 'longline_edge_connections')).toBe(1);
});

describe('a client that stops to read', () => {
  const payload = 'x'.repeat(256 * 1024);
  /** More than the kernel's buffers on both sides could ever take. */
  const PUSHES_MAX = 400;

  test('is SLOW for live pushes in the end, and closed', async () => {
    const wentUp = await watch(ENDED, { reason: 'slow' });
    const socket = await connectRaw('slow-live');
    socket.stopReading();
    const verdicts: string[] = [];
    while (verdicts.at(-1) !== 'SLOW' && verdicts.length < PUSHES_MAX) {
      verdicts.push((await running.push.push('slow-live', payload, LIVE)).verdict);
    }
    expect(verdicts.slice(0, -1).every((verdict) => verdict === 'WRITTEN')).toBe(true);
    expect(verdicts.at(-1)).toBe('SLOW');
    await wentUp();
    expect((await running.push.push('slow-live', 'x', LIVE)).verdict).toBe('OFFLINE');
    socket.resumeReading();
    await socket.untilEnded();
  }, 60_000);

  test('gets its durable pushes when it comes back: all that it has not confirmed', async () => {
    const wentUp = await watch(ENDED, { reason: 'slow' });
    const socket = await connectRaw('slow-durable');
    // So that the pushes below find it live, not still being told what is stored.
    await eventually(
      async () => (await running.push.push('slow-durable', 'first')).verdict === 'WRITTEN',
    );
    socket.stopReading();
    const ids: string[] = [];
    let verdict = '';
    while (verdict !== 'STORED' && ids.length < PUSHES_MAX) {
      const pushed = await running.push.push('slow-durable', payload);
      verdict = pushed.verdict;
      ids.push(pushed.messageId);
    }
    expect(verdict).toBe('STORED');
    await wentUp();
    const later = await running.push.push('slow-durable', 'last');
    expect(later.verdict).toBe('STORED');
    const back = await SseClient.open(running.connectUrl('slow-durable'));
    try {
      await eventually(() => back.data.at(-1) === 'last', 30_000);
      // What was WRITTEN may never have been read: nothing confirmed it, so it comes again.
      expect(back.ids.slice(-ids.length - 1)).toEqual([...ids, later.messageId]);
      expect(back.data.at(0)).toBe('first');
      expect(back.events.every(({ event }) => event === 'message')).toBe(true);
    } finally {
      back.close();
    }
  }, 90_000);
});

test('an edge that is full rejects with 503 EDGE_FULL, and takes the next when one has gone', async () => {
  const wentUp = await watch(REFUSED, { code: 'EDGE_FULL' });
  const clients: RawSocket[] = [];
  while (clients.length < CONNECTIONS_MAX - 1)
    clients.push(await connectRaw(`n-${clients.length}`));
  const tooMany = await dial();
  await tooMany.send(request('too-many'));
  await tooMany.untilEnded();
  expect([tooMany.status, tooMany.code]).toEqual([503, 'EDGE_FULL']);
  expect(tooMany.text).toMatch(/\r\nRetry-After: \d+\r\n/);
  await wentUp();
  clients[0]!.close();
  await eventually(
    async () =>
      (await running.metric('edge-1', 'longline_edge_connections')) === CONNECTIONS_MAX - 1,
  );
  await connectRaw('the-next');
});

test('a clientId that holds a connection comes back although the edge is full', async () => {
  const clients: RawSocket[] = [];
  while (clients.length < CONNECTIONS_MAX - 1)
    clients.push(await connectRaw(`m-${clients.length}`));
  // Its old connection may be dead without anybody knowing: it must not lock itself out.
  const again = await dial();
  await again.send(request('m-0'));
  await eventually(() => again.status !== undefined);
  expect(again.status).toBe(200);
});
