/**
 * Goal: any bytes from a peer, or missing bytes or reads, lead to a precise response or a clean
 * close, are counted, and do not affect other clients. Method: one edge as a process, raw sockets
 * against its device port. During each case a well-behaved client is connected to the same edge: it
 * must stay connected and receive a push afterwards, and the counter with the label of the case
 * must have increased by one.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { useHealthyClient, watchMetric } from '../../support/cluster/healthy-client.js';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';
import { TLS_RUN } from '../../support/tls/tls-run.js';

const HEAD_TIMEOUT_MS = 1_500;
const HEAD_BYTES_MAX = 8_192;
const CONNECTIONS_MAX = 40;
const REJECTED = 'longline_edge_requests_rejected_total';
const CLOSED = 'longline_edge_connections_closed_total';

let running: RunningCluster;
let port: number;
const sockets: RawSocket[] = [];

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: 1,
    env: {
      LONGLINE_EDGE_HEAD_TIMEOUT_MS: `${HEAD_TIMEOUT_MS}`,
      LONGLINE_EDGE_CONNECTIONS_MAX: `${CONNECTIONS_MAX}`,
      // The slow client accumulates more than the default in its inbox.
      LONGLINE_ROUTER_INBOX_BYTES_MAX: `${256 * 1024 * 1024}`,
    },
  });
  port = Number(new URL(running.cluster.edgeUrl('edge-1')).port);
});

afterAll(() => running?.stop());

useHealthyClient(() => running, sockets);

async function dial(): Promise<RawSocket> {
  const socket = await RawSocket.connect(port);
  sockets.push(socket);
  return socket;
}

const watchCounter = (metric: string, label: Record<string, string>) =>
  watchMetric(running, metric, label);

function request(clientId: string, ...headers: string[]): string {
  return [`GET /connect?clientId=${clientId} HTTP/1.1`, 'Host: edge', ...headers, '', ''].join(
    '\r\n',
  );
}

/** Connects a client over a raw socket. Resolves when the stream has started. */
async function connectRaw(clientId: string): Promise<RawSocket> {
  const socket = await dial();
  await socket.send(request(clientId));
  await socket.untilText('retry: ');
  return socket;
}

describe('a request head', () => {
  test('is accepted byte by byte', async () => {
    const socket = await dial();
    for (const byte of Buffer.from(request('byte-by-byte', 'X-Padding: 0123456789'))) {
      await socket.send(Uint8Array.of(byte));
    }
    await socket.untilText('retry: ');
    const { verdict } = await running.push.push('byte-by-byte', 'hello', LIVE);
    expect(verdict).toBe('WRITTEN');
    await socket.untilText('data: hello\n\n');
  });

  test('is accepted after one empty line', async () => {
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

  test('one byte over the limit is answered with 431', async () => {
    const increased = await watchCounter(REJECTED, { code: 'HEAD_TOO_LARGE' });
    const socket = await dial();
    await socket.send(headOf(HEAD_BYTES_MAX + 1));
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([431, 'HEAD_TOO_LARGE']);
    await increased();
  });

  test('that never ends is answered with 431 while it is still being sent', async () => {
    const increased = await watchCounter(REJECTED, { code: 'HEAD_TOO_LARGE' });
    const socket = await dial();
    await socket.send('GET /connect?clientId=endless HTTP/1.1\r\nX: ');
    await socket.send('x'.repeat(64 * 1024));
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([431, 'HEAD_TOO_LARGE']);
    await increased();
  });

  test('of 101 lines is answered with 431', async () => {
    const increased = await watchCounter(REJECTED, { code: 'HEAD_TOO_LARGE' });
    const socket = await dial();
    await socket.send(request('many', ...Array.from({ length: 100 }, (_, i) => `X-${i}: y`)));
    await socket.untilEnded();
    expect(socket.status).toBe(431);
    await increased();
  });

  test('that drips is answered with 408 at the absolute deadline, like silence and one byte', async () => {
    const increased = await watchCounter(REJECTED, { code: 'HEAD_TIMEOUT' });
    const startMs = performance.now();
    const [dripping, silent, oneByte] = await Promise.all([dial(), dial(), dial()]);
    await oneByte.send('G');
    const bytes = Buffer.from(request('slow'));
    let sent = 0;
    const drip = setInterval(() => {
      void dripping.send(bytes.subarray(sent % bytes.length, (sent % bytes.length) + 1));
      sent++;
      // Never completes: that would take many times the deadline.
    }, 100);
    try {
      for (const socket of [dripping, silent, oneByte]) {
        await socket.untilEnded();
        expect([socket.status, socket.code]).toEqual([408, 'HEAD_TIMEOUT']);
      }
    } finally {
      clearInterval(drip);
    }
    // The bytes that dripped did not extend the deadline.
    expect(sent).toBeGreaterThan(5);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(HEAD_TIMEOUT_MS);
    await increased(3);
  });
});

describe('another protocol', () => {
  test.each([
    ['Redis', '*1\r\n$4\r\nPING\r\n'],
    ['noise', Buffer.from('00ff00ff', 'hex')],
  ])('such as %s is rejected at its first bytes', async (_, bytes) => {
    const increased = await watchCounter(REJECTED, { code: 'REQUEST_MALFORMED' });
    const socket = await dial();
    await socket.send(bytes);
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([400, 'REQUEST_MALFORMED']);
    await increased();
  });

  test('such as HTTP/2 with prior knowledge is answered with 505', async () => {
    const increased = await watchCounter(REJECTED, { code: 'HTTP_VERSION_UNSUPPORTED' });
    const socket = await dial();
    await socket.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([505, 'HTTP_VERSION_UNSUPPORTED']);
    await increased();
  });

  // It would come before TLS.
  (TLS_RUN ? test.skip : test).each([
    ['version 1', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n')],
    ['version 2', Buffer.from('0d0a0d0a000d0a515549540a', 'hex')],
  ])('such as a PROXY header of %s is rejected from a peer that is no proxy', async (_, bytes) => {
    const increased = await watchCounter(REJECTED, { code: 'PROXY_NOT_ALLOWED' });
    const socket = await dial();
    await socket.send(bytes);
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([403, 'PROXY_NOT_ALLOWED']);
    await increased();
  });

  test('such as SSH, which starts like a request, is answered with 408 at the deadline', async () => {
    const increased = await watchCounter(REJECTED, { code: 'HEAD_TIMEOUT' });
    const socket = await dial();
    await socket.send('SSH-2.0-OpenSSH_9.2p1\r\n');
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([408, 'HEAD_TIMEOUT']);
    await increased();
  });
});

describe('a request that two parsers could interpret differently', () => {
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
    ['a body without a length', `${line}Host: a\r\n\r\nhello`],
    ['a second request behind it', `${line}Host: a\r\n\r\n${line}Host: a\r\n\r\n`],
    ['two blanks in its line', 'GET  /connect?clientId=a HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a byte over 127 in its target', 'GET /connect?clientId=\xff HTTP/1.1\r\nHost: a\r\n\r\n'],
  ])('is rejected with 400 and closed: %s', async (_, bytes) => {
    const increased = await watchCounter(REJECTED, { code: 'REQUEST_MALFORMED' });
    const socket = await dial();
    await socket.send(Buffer.from(bytes, 'latin1'));
    await socket.untilEnded();
    expect([socket.status, socket.code]).toEqual([400, 'REQUEST_MALFORMED']);
    // One response, also for a second request.
    expect(socket.text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(socket.text).toContain('Connection: close\r\n');
    await increased();
  });

  test.each(['HTTP/0.9', 'HTTP/2.0', 'HTTP/9.9'])('is rejected with 505: %s', async (version) => {
    const increased = await watchCounter(REJECTED, { code: 'HTTP_VERSION_UNSUPPORTED' });
    const socket = await dial();
    await socket.send(`GET /connect?clientId=a ${version}\r\nHost: a\r\n\r\n`);
    await socket.untilEnded();
    expect(socket.status).toBe(505);
    await increased();
  });
});

describe('a connection with a response', () => {
  test('ends when its client sends another request', async () => {
    const increased = await watchCounter(CLOSED, { reason: 'unexpected_bytes' });
    const socket = await connectRaw('pipeliner');
    await socket.send(request('other-client'));
    await socket.untilEnded();
    expect(socket.text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect((await running.push.presence('other-client')).connections).toEqual([]);
    await increased();
  });

  test('ends after a FIN of its client', async () => {
    const increased = await watchCounter(CLOSED, { reason: 'peer' });
    const socket = await connectRaw('half-closed');
    socket.halfClose();
    await socket.untilEnded();
    expect(socket.errorCode).toBeUndefined();
    expect((await running.push.push('half-closed', 'x', LIVE)).verdict).toBe('OFFLINE');
    await increased();
  });

  test('ends after a RST of its client', async () => {
    const increased = await watchCounter(CLOSED, { reason: 'peer' });
    const socket = await connectRaw('resetter');
    socket.reset();
    await increased();
    expect((await running.push.push('resetter', 'x', LIVE)).verdict).toBe('OFFLINE');
  });
});

test('a RST or FIN before or within a head leaks no connection', async () => {
  const increased = await watchCounter(CLOSED, { reason: 'peer' });
  for (let i = 0; i < 50; i++) {
    const socket = await dial();
    if (i % 3 > 0) await socket.send(request(`torn-${i}`).slice(0, 1 + i));
    if (i % 2 === 0) socket.reset();
    else socket.halfClose();
  }
  for (const socket of sockets) await socket.untilEnded();
  await eventually(async () => {
    expect(await running.metric('edge-1', 'longline_edge_connections')).toBe(1);
  });
  await increased(0);
});

describe('a client that stops reading', () => {
  const payload = 'x'.repeat(256 * 1024);
  /** More than the buffers of the kernel on both sides can store. */
  const PUSHES_MAX = 400;

  test('causes the verdict SLOW for live pushes in the end, and is disconnected', async () => {
    const increased = await watchCounter(CLOSED, { reason: 'slow' });
    const socket = await connectRaw('slow-live');
    socket.stopReading();
    const verdicts: string[] = [];
    while (verdicts.at(-1) !== 'SLOW' && verdicts.length < PUSHES_MAX) {
      verdicts.push((await running.push.push('slow-live', payload, LIVE)).verdict);
    }
    expect(verdicts.slice(0, -1).every((verdict) => verdict === 'WRITTEN')).toBe(true);
    expect(verdicts.at(-1)).toBe('SLOW');
    await increased();
    expect((await running.push.push('slow-live', 'x', LIVE)).verdict).toBe('OFFLINE');
    socket.resumeReading();
    await socket.untilEnded();
  });

  test('receives all durable pushes that it has not confirmed when it reconnects', async () => {
    const increased = await watchCounter(CLOSED, { reason: 'slow' });
    const socket = await connectRaw('slow-durable');
    // So that the client is no longer catching up when the pushes below arrive.
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
    await increased();
    const later = await running.push.push('slow-durable', 'last');
    expect(later.verdict).toBe('STORED');
    const back = await SseClient.open(running.connectUrl('slow-durable'));
    try {
      await eventually(() => back.data.at(-1) === 'last');
      // A push that was WRITTEN may never have been read. Unconfirmed, it is sent again.
      expect(back.ids.slice(-ids.length - 1)).toEqual([...ids, later.messageId]);
      expect(back.data.at(0)).toBe('first');
      expect(back.events.every(({ event }) => event === 'message')).toBe(true);
    } finally {
      back.close();
    }
  });
});

test('a full edge rejects with 503 EDGE_FULL until a client disconnects', async () => {
  const increased = await watchCounter(REJECTED, { code: 'EDGE_FULL' });
  const clients: RawSocket[] = [];
  while (clients.length < CONNECTIONS_MAX - 1)
    clients.push(await connectRaw(`n-${clients.length}`));
  const tooMany = await dial();
  await tooMany.send(request('too-many'));
  await tooMany.untilEnded();
  expect([tooMany.status, tooMany.code]).toEqual([503, 'EDGE_FULL']);
  expect(tooMany.text).toMatch(/\r\nRetry-After: \d+\r\n/);
  await increased();
  clients[0]!.close();
  await eventually(
    async () =>
      (await running.metric('edge-1', 'longline_edge_connections')) === CONNECTIONS_MAX - 1,
  );
  await connectRaw('the-next');
});

test('a connected clientId can reconnect although the edge is full', async () => {
  const clients: RawSocket[] = [];
  while (clients.length < CONNECTIONS_MAX - 1)
    clients.push(await connectRaw(`m-${clients.length}`));
  // Its old connection may be dead but not yet detected: it must not lock the client out.
  const again = await dial();
  await again.send(request('m-0'));
  await eventually(() => again.status !== undefined);
  expect(again.status).toBe(200);
});
