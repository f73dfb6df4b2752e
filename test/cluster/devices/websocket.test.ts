/**
 * Goal: third-party WebSocket clients receive, confirm, resume and are disconnected, with and
 * without envelopes; a client that reconnects with another protocol misses nothing. Method: one
 * cluster of processes. Each client looks up its edge as an application does.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type Browser, chromium, type Page } from 'playwright-core';
import { WaitFor } from '../../../proto/gen/longline/v1/push.js';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { CHROMIUM_ARGS } from '../../support/devices/chromium.js';
import { SseClient } from '../../support/devices/sse-client.js';
import {
  CHROMIUM,
  CHROMIUM_PATH,
  PYTHON_WEBSOCKETS,
  testWith,
} from '../../support/devices/system-clients.js';
import {
  type OpenWebSocket,
  openBrowserWebSocket,
  openNodeWebSocket,
  openPythonWebSocket,
  openWs,
  type WebSocketClient,
} from '../../support/devices/websocket-client.js';
import { eventually } from '../../support/eventually.js';

const JSON_PROTOCOL = 'longline.json';

let running: RunningCluster;
let browser: Browser | undefined;
let pages: Server;
const opened: WebSocketClient[] = [];

beforeAll(async () => {
  // Moves of fewer shards are over sooner.
  running = await RunningCluster.start({ edges: 2, env: { LONGLINE_SHARD_COUNT: '64' } });
  pages = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>A page of another origin</title>');
  });
  await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve));
});

afterAll(async () => {
  await browser?.close();
  pages?.close();
  await running?.stop();
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((client) => client.end()));
});

async function newPage(): Promise<Page> {
  browser ??= await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGS });
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`);
  return page;
}

/** Connects a client to the edge that owns its shard. */
async function connect(
  open: OpenWebSocket,
  clientId: string,
  protocol?: string,
  query = '',
): Promise<WebSocketClient> {
  const { url } = await running.lookUp(clientId);
  const client = await open(url + query, ...(protocol === undefined ? [] : [protocol]));
  opened.push(client);
  return client;
}

/** Resolves when a live push reaches the client. */
const untilLive = (clientId: string) =>
  eventually(async () => (await running.push.push(clientId, 'live', LIVE)).verdict === 'WRITTEN');

/**
 * Payloads that need careful framing, with their content type and whether they are sent as text.
 */
const PAYLOADS: readonly (readonly [
  payload: string | Buffer,
  contentType: string,
  isText: boolean,
])[] = [
  ['', '', false],
  ['', 'text/plain', true],
  ['a\nb\r\nc\rd\n', 'text/plain; charset=utf-8', true],
  ['\0NUL\0', 'text/plain', true],
  ['日本語 🦈 \u2028', 'application/json', true],
  [Buffer.from('ff00c328', 'hex'), 'text/plain', false],
  [Buffer.from('00ff', 'hex'), 'application/octet-stream', false],
  ['x'.repeat(125), 'text/plain', true],
  ['x'.repeat(126), 'text/plain', true],
  ['y'.repeat(65_535), 'text/plain', true],
  ['y'.repeat(65_536), 'text/plain', true],
  [Buffer.alloc(1024 * 1024, 'z\n'), '', false],
];

const CLIENTS = [
  ['ws', test, openWs],
  ['WebSocket of Node', test, openNodeWebSocket],
  ['websockets of Python', testWith(PYTHON_WEBSOCKETS), openPythonWebSocket],
  ['WebSocket of Chromium', testWith(CHROMIUM), openBrowserWebSocket(newPage)],
] as const;

describe.each(CLIENTS)('%s', (name, testHere, open) => {
  const clientIdOf = (suffix: string) => `${name.replaceAll(' ', '-')}-${suffix}`;

  testHere('receives the exact payloads', async () => {
    const clientId = clientIdOf('plain');
    const client = await connect(open, clientId);
    expect(client.protocol).toBe('');
    for (const [payload, contentType] of PAYLOADS) {
      await running.push.push(clientId, payload, { contentType });
    }
    await client.untilReceived(PAYLOADS.length);
    for (const [i, [payload, , isText]] of PAYLOADS.entries()) {
      const { kind, payload: received } = client.received[i]!;
      expect([i, kind, received.equals(Buffer.from(payload))]).toEqual([
        i,
        isText ? 'text' : 'binary',
        true,
      ]);
    }
    const { connections } = await running.push.presence(clientId);
    expect(connections).toMatchObject([{ protocol: 'websocket', guest: false }]);
  });

  testHere('receives envelopes, and its ack gives the verdict ACKED', async () => {
    const clientId = clientIdOf('json');
    const client = await connect(open, clientId, JSON_PROTOCOL);
    expect(client.protocol).toBe(JSON_PROTOCOL);
    const ids: string[] = [];
    for (const [payload, contentType] of PAYLOADS) {
      ids.push((await running.push.push(clientId, payload, { contentType })).messageId);
    }
    await client.untilReceived(1 + PAYLOADS.length);
    const [welcome, ...pushes] = client.envelopes;
    expect(welcome).toEqual({ type: 'welcome', clientId, heartbeatMs: 15_000 });
    for (const [i, [payload, contentType]] of PAYLOADS.entries()) {
      const push = pushes[i]!;
      const bytes =
        typeof push.data === 'string'
          ? Buffer.from(push.data)
          : Buffer.from(push.base64 as string, 'base64');
      const received = [
        push.type,
        push.id,
        push.contentType ?? '',
        bytes.equals(Buffer.from(payload)),
      ];
      expect(received).toEqual(['push', ids[i], contentType, true]);
    }
    const options = { waitFor: WaitFor.WAIT_FOR_ACKED, waitMs: 15_000 };
    const pushing = running.push.push(clientId, 'confirm me', options);
    await client.untilReceived(2 + PAYLOADS.length);
    await client.send(JSON.stringify({ type: 'ack', id: client.envelopes.at(-1)!.id }));
    expect((await pushing).verdict).toBe('ACKED');
    const { connections } = await running.push.presence(clientId);
    expect(connections).toMatchObject([{ protocol: 'websocket-json' }]);
  });

  testHere(
    'receives the close code of a replaced session, and of a disconnect by a backend',
    async () => {
      const clientId = clientIdOf('closed');
      const first = await connect(open, clientId, JSON_PROTOCOL);
      const second = await connect(open, clientId);
      expect(await first.untilClosed()).toMatchObject({ code: 4001 });
      expect(first.envelopes.at(-1)).toEqual({ type: 'session-replaced' });
      const third = await connect(open, clientId);
      expect(await second.untilClosed()).toMatchObject({ code: 4001 });
      await untilLive(clientId);
      await running.push.disconnect(clientId);
      expect(await third.untilClosed()).toMatchObject({ code: 1000 });
    },
  );
});

describe('a client that reconnects', () => {
  test('with a cursor receives the pushes after it, with envelopes', async () => {
    const first = await connect(openWs, 'resume', JSON_PROTOCOL);
    for (const payload of ['one', 'two', 'three']) await running.push.push('resume', payload);
    await first.untilReceived(4);
    const cursor = first.envelopes[2]!.id;
    await first.end();
    await running.push.push('resume', 'while away');
    const back = await connect(openWs, 'resume', JSON_PROTOCOL, `&lastEventId=${cursor}`);
    await back.untilReceived(3);
    expect(back.envelopes.slice(1).map(({ data }) => data)).toEqual(['three', 'while away']);
  });

  test('receives a reset if its history is incomplete', async () => {
    const client = await connect(openWs, 'lost', JSON_PROTOCOL, '&lastEventId=1-1');
    await client.untilReceived(2);
    expect(client.envelopes[1]).toEqual({ type: 'reset', id: expect.stringMatching(/^\d+-\d+$/) });
  });

  test('receives all pushes that it has not confirmed', async () => {
    const first = await connect(openWs, 'acks', JSON_PROTOCOL);
    for (const payload of ['one', 'two', 'three']) await running.push.push('acks', payload);
    await first.untilReceived(4);
    const confirmations = async () => running.metric(edgeId, CONFIRMED);
    const edgeId = await edgeOf('acks');
    const before = await confirmations();
    await first.send(JSON.stringify({ type: 'ack', id: first.envelopes[2]!.id }));
    await first.send('{"type":"ping"}');
    await first.untilReceived(5);
    expect(first.envelopes[4]).toEqual({ type: 'pong' });
    await eventually(async () => (await confirmations()) > before);
    await first.end();
    const back = await connect(openWs, 'acks', JSON_PROTOCOL);
    await back.untilReceived(2);
    expect(back.envelopes.slice(1).map(({ data }) => data)).toEqual(['three']);
  });

  test('without envelopes has confirmed by its pongs', async () => {
    const first = await connect(openWs, 'pongs');
    await untilLive('pongs');
    const options = { waitFor: WaitFor.WAIT_FOR_ACKED, waitMs: 15_000 };
    expect((await running.push.push('pongs', 'one', options)).verdict).toBe('ACKED');
    await first.end();
    await eventually(async () => (await running.push.presence('pongs')).connections.length === 0);
    await running.push.push('pongs', 'two');
    const back = await connect(openWs, 'pongs');
    await back.untilReceived(1);
    await running.push.push('pongs', 'three');
    await back.untilReceived(2);
    expect(back.received.map(({ payload }) => payload.toString())).toEqual(['two', 'three']);
  });

  test('with another protocol misses nothing', async () => {
    const overWebSocket = await connect(openWs, 'switch', JSON_PROTOCOL);
    const one = await running.push.push('switch', 'one');
    await overWebSocket.untilReceived(2);
    const headers = { 'last-event-id': one.messageId };
    const overSse = await SseClient.open(running.connectUrl('switch'), { headers });
    expect(await overWebSocket.untilClosed()).toMatchObject({ code: 4001 });
    const two = await running.push.push('switch', 'two');
    await overSse.until(1);
    const back = await connect(openWs, 'switch', 'longline.raw', `&lastEventId=${two.messageId}`);
    expect(back.protocol).toBe('longline.raw');
    await overSse.ended;
    expect(overSse.events.map(({ event, data }) => [event, data])).toEqual([
      ['message', 'two'],
      ['session-replaced', '{}'],
    ]);
    await running.push.push('switch', 'three');
    await back.untilReceived(1);
    expect(back.received.map(({ payload }) => payload.toString())).toEqual(['three']);
  });
});

test('a WebSocket at an edge that does not own its shard is served as a guest', async () => {
  const clientId = await running.clientIdOf('edge-1', 'guest');
  const client = await openWs(`${running.cluster.edgeUrl('edge-2')}/connect?clientId=${clientId}`);
  opened.push(client);
  await running.push.push(clientId, 'hello');
  await client.untilReceived(1);
  const { connections } = await running.push.presence(clientId);
  expect(connections).toMatchObject([{ edgeId: 'edge-2', guest: true }]);
});

/** The last test, because the edge stays drained. */
test('every client receives the URL of its new edge when its edge is drained', async () => {
  const clients = CLIENTS.filter(([, testHere]) => testHere === test);
  const ids = await running.clientIdsOf('edge-2', 2 * clients.length, 'moved');
  const all = await Promise.all(
    ids.map(async (clientId, i) => {
      const isJson = i % 2 === 1;
      const [, , open] = clients[Math.floor(i / 2)]!;
      const client = await connect(open, clientId, isJson ? JSON_PROTOCOL : undefined);
      await untilLive(clientId);
      return { clientId, isJson, open, client };
    }),
  );
  await running.postToControl('/v1/edges/edge-2/drain');
  const destination = `${running.cluster.edgeUrl('edge-1')}/connect?clientId=`;
  for (const { clientId, isJson, open, client } of all) {
    await eventually(() => client.closed !== undefined, 100_000);
    expect(client.closed).toEqual({
      type: 'close',
      code: 4002,
      reason: expect.stringContaining(destination),
    });
    const goaway = isJson ? client.envelopes.at(-1)! : { url: client.closed!.reason };
    if (isJson) expect(goaway).toMatchObject({ type: 'goaway', retryMs: expect.any(Number) });
    const back = await open(goaway.url as string);
    opened.push(back);
    await untilLive(clientId);
    const { connections } = await running.push.presence(clientId);
    expect(connections).toMatchObject([{ edgeId: 'edge-1', guest: false }]);
  }
});

const CONFIRMED = 'longline_edge_confirmations_total';

const edgeOf = async (clientId: string) =>
  (await running.push.presence(clientId)).connections[0]!.edgeId;
