/**
 * Goal: the client performs the machine's actions over a real stream and over a fake WebSocket.
 * Method: one HTTP server is both router and edge; each test writes its responses.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  type Client,
  type ClientState,
  type ConnectOptions,
  connect,
  type Push,
} from '../../client/connect.js';
import type { WebSocketLike } from '../../client/web-socket.js';
import { eventually } from '../support/eventually.js';

let server: Server;
/** URL of the server, as router and as edge. */
let url: string;
/** Requests to the edge and their responses, oldest first. */
let streams: { request: IncomingMessage; response: ServerResponse }[];
let lookUps: IncomingMessage[];
/** Replaces the response to a lookup. */
let respondToLookUp: ((response: ServerResponse) => void) | undefined;

/** Appended to the URL of the edge. */
let ticket: string;

const clients: Client[] = [];
let received: Push[];
let states: ClientState[];
let gaps: number;

beforeEach(async () => {
  streams = [];
  lookUps = [];
  respondToLookUp = undefined;
  ticket = '';
  received = [];
  states = [];
  gaps = 0;
  FakeWebSocket.all = [];
  server = createServer((request, response) => {
    if (request.headers.accept !== 'application/json') {
      streams.push({ request, response });
      return;
    }
    lookUps.push(request);
    if (respondToLookUp !== undefined) return respondToLookUp(response);
    response.end(JSON.stringify({ url: `${url}${request.url}&epoch=1-5${ticket}` }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  server.closeAllConnections();
  server.close();
});

function start(options: Partial<ConnectOptions> = {}): Client {
  const client = connect({
    router: url,
    clientId: 'al ice+1',
    onPush: (push) => received.push(push),
    onGap: () => gaps++,
    onState: (state) => states.push(state),
    ...options,
  });
  clients.push(client);
  return client;
}

const line = (message: object) => `${JSON.stringify(message)}\n`;
const WELCOME = line({ type: 'welcome', clientId: 'a', heartbeatMs: 15_000 });
const typesOf = () => states.map(({ type }) => type);

/** Waits for the `count`th request to the edge and writes the welcome. */
async function stream(count: number, welcome = WELCOME) {
  await eventually(() => streams.length === count);
  const { request, response } = streams[count - 1]!;
  response.write(welcome);
  return { request, response };
}

/** WebSocket whose events the test triggers. */
class FakeWebSocket implements WebSocketLike {
  static all: FakeWebSocket[] = [];
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  readonly sent: string[] = [];
  isClosed = false;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeWebSocket.all.push(this);
  }

  send(text: string): void {
    this.sent.push(text);
  }

  close(): void {
    this.isClosed = true;
  }

  receive(message: object): void {
    (this.onmessage as (event: { data: unknown }) => void)({ data: JSON.stringify(message) });
  }

  end(code: number): void {
    (this.onclose as (event: { code: number; reason: string }) => void)({ code, reason: '' });
  }
}

async function socket(count: number): Promise<FakeWebSocket> {
  await eventually(() => FakeWebSocket.all.length === count);
  const last = FakeWebSocket.all[count - 1]!;
  last.receive({ type: 'welcome', clientId: 'a', heartbeatMs: 15_000, ticket: `ticket-${count}` });
  return last;
}

describe('over a stream', () => {
  test('connects to the router, then to the edge, with the exact clientId', async () => {
    start();
    const { request } = await stream(1);
    expect(lookUps[0]!.url).toBe('/connect?clientId=al%20ice%2B1');
    expect(request.url).toBe('/connect?clientId=al%20ice%2B1&epoch=1-5');
    expect(request.headers.accept).toBe('application/x-ndjson');
    await eventually(() => states.at(-1)?.type === 'connected');
    expect(states).toEqual([{ type: 'connecting' }, { type: 'connected', via: 'stream' }]);
  });

  test('parses lines that arrive byte by byte', async () => {
    start();
    const { response } = await stream(1);
    const lines =
      line({ type: 'push', id: '1-0', data: 'grüße 🦈\r\n' }) +
      line({ type: 'reset' }) +
      line({ type: 'push', base64: '/wA=' });
    for (const byte of Buffer.from(lines)) {
      await new Promise((written) => response.write(Buffer.of(byte), written));
    }
    await eventually(() => received.length === 2);
    expect(received).toEqual([
      { id: '1-0', data: 'grüße 🦈\r\n' },
      { data: Uint8Array.of(255, 0) },
    ]);
    expect(gaps).toBe(1);
  });

  test('resumes with the newest id when the stream ends or breaks', async () => {
    start({ lastEventId: '1-0' });
    const first = await stream(1);
    expect(first.request.url).toContain('&lastEventId=1-0');
    first.response.end(line({ type: 'push', id: '2-0', data: '' }));
    const second = await stream(2);
    expect(second.request.url).toContain('&lastEventId=2-0');
    second.response.destroy();
    await stream(3);
    expect(lookUps).toHaveLength(3);
  });

  test('follows a goaway to its url and queries the router when that fails', async () => {
    start();
    const { response } = await stream(1);
    response.write(line({ type: 'goaway', retryMs: 10, url: `${url}/connect?clientId=moved` }));
    await eventually(() => streams.length === 2);
    expect(streams[1]!.request.url).toBe('/connect?clientId=moved');
    expect(lookUps).toHaveLength(1);
    streams[1]!.response.writeHead(503).end('no');
    await stream(3);
    expect(lookUps).toHaveLength(2);
    const waiting = states.filter(({ type }) => type === 'waiting');
    expect(waiting).toEqual([
      { type: 'waiting', retryMs: 10, code: 'GOAWAY', reason: 'goaway' },
      { type: 'waiting', retryMs: expect.any(Number), code: 'HTTP_503', reason: 'HTTP 503: no' },
    ]);
  });

  test('waits at least as long as Retry-After', async () => {
    respondToLookUp = (response) => response.writeHead(503, { 'Retry-After': '7' }).end('');
    start();
    await eventually(() => states.at(-1)?.type === 'waiting');
    expect((states.at(-1) as { retryMs: number }).retryMs).toBeGreaterThanOrEqual(7_000);
  });

  test('closes a stream without a message for two heartbeats', async () => {
    start();
    const { response } = await stream(1, line({ type: 'welcome', heartbeatMs: 30 }));
    await once(response, 'close');
    await stream(2);
  });

  test('calls token for each attempt', async () => {
    let calls = 0;
    start({ token: async () => `token-${++calls}` });
    const { request, response } = await stream(1);
    expect(request.headers.authorization).toBe('Bearer token-1');
    response.end();
    expect((await stream(2)).request.headers.authorization).toBe('Bearer token-2');
  });

  test('sends the token only to the router if the url of the edge has a ticket', async () => {
    ticket = '&ticket=t1';
    let calls = 0;
    start({ token: async () => `token-${++calls}` });
    const { request, response } = await stream(1);
    expect(lookUps[0]!.headers.authorization).toBe('Bearer token-1');
    expect(request.headers.authorization).toBeUndefined();
    expect(request.url).toContain('&ticket=t1');
    const target = `${url}/connect?clientId=moved&ticket=t2`;
    response.write(line({ type: 'goaway', retryMs: 1, url: target }));
    const moved = await stream(2);
    expect(moved.request.url).toBe('/connect?clientId=moved&ticket=t2');
    expect([calls, lookUps.length]).toEqual([1, 1]);
  });

  test('retries when token rejects', async () => {
    let calls = 0;
    start({
      token: async () => {
        if (++calls === 1) throw new Error('logged out');
        return 'token';
      },
    });
    await stream(1);
    expect(states[1]).toMatchObject({
      type: 'waiting',
      code: 'TOKEN_FAILED',
      reason: 'token failed: Error: logged out',
    });
  });

  test('closes while connected and during a lookup', async () => {
    const connected = start();
    const { response } = await stream(1);
    await eventually(() => states.at(-1)?.type === 'connected');
    connected.close();
    await once(response, 'close');
    expect(states.at(-1)).toEqual({ type: 'closed', reason: 'closed' });
    respondToLookUp = () => {};
    states = [];
    const lookingUp = start();
    await eventually(() => lookUps.length === 2);
    lookingUp.close();
    await eventually(() => lookUps[1]!.destroyed);
    expect(typesOf()).toEqual(['connecting', 'closed']);
  });

  test('stays closed after its session is replaced', async () => {
    start();
    const { response } = await stream(1);
    response.end(line({ type: 'session-replaced' }));
    await eventually(() => states.at(-1)?.type === 'closed');
    expect(states.at(-1)).toEqual({ type: 'closed', reason: 'session-replaced' });
    expect(lookUps).toHaveLength(1);
  });

  test('can be closed in a callback', async () => {
    const client = start({
      onPush: (push) => {
        received.push(push);
        client.close();
      },
    });
    const { response } = await stream(1);
    const push = (n: number) => line({ type: 'push', id: `1-${n}`, data: '' });
    response.write(push(1) + push(2));
    await eventually(() => states.at(-1)?.type === 'closed');
    expect(received).toHaveLength(1);
  });
});

describe('over a WebSocket', () => {
  const webSocket = FakeWebSocket;

  test('offers longline.json to the edge that the router returns', async () => {
    start({ webSocket, lastEventId: '1-0' });
    const { url: requested, protocols } = await socket(1);
    const edge = url.replace('http:', 'ws:');
    expect(requested).toBe(`${edge}/connect?clientId=al%20ice%2B1&epoch=1-5&lastEventId=1-0`);
    expect(protocols).toEqual(['longline.json']);
    expect(states.at(-1)).toEqual({ type: 'connected', via: 'websocket' });
  });

  test('confirms several pushes with one ack', async () => {
    start({ webSocket });
    const edge = await socket(1);
    for (let n = 0; n < 3; n++) edge.receive({ type: 'push', id: `1-${n}`, data: `${n}` });
    expect(edge.sent).toEqual([]);
    await eventually(() => edge.sent.length > 0);
    expect(edge.sent).toEqual(['{"type":"ack","id":"1-2"}']);
    edge.receive({ type: 'push', id: '1-3', data: '' });
    clients.at(-1)!.close();
    expect(edge.sent.at(-1)).toBe('{"type":"ack","id":"1-3"}');
    expect(edge.isClosed).toBe(true);
  });

  test('sends a token as a subprotocol, then the newest ticket, then a token again', async () => {
    let calls = 0;
    start({ webSocket, token: async () => `jwt-${++calls}` });
    const first = await socket(1);
    expect(first.protocols).toEqual(['longline.json', 'longline.token.jwt-1']);
    first.end(1006);
    await eventually(() => FakeWebSocket.all.length === 2);
    const second = FakeWebSocket.all[1]!;
    expect(second.protocols).toEqual(['longline.json', 'longline.token.ticket-1']);
    second.end(1006);
    await eventually(() => FakeWebSocket.all.length === 3);
    expect(FakeWebSocket.all[2]!.protocols).toEqual(['longline.json', 'longline.token.jwt-2']);
  });

  test('sends a new token when its token is about to expire', async () => {
    let calls = 0;
    start({ webSocket, token: async () => `jwt-${++calls}` });
    const edge = await socket(1);
    edge.receive({ type: 'expiring', inMs: 60_000 });
    await eventually(() => edge.sent.length > 0);
    expect(edge.sent).toEqual(['{"type":"token","token":"jwt-2"}']);
  });

  test('pings a silent edge, then disconnects', async () => {
    start({ webSocket });
    const edge = await socket(1);
    edge.receive({ type: 'goaway', retryMs: 1 });
    await eventually(() => FakeWebSocket.all.length === 2);
    const silent = FakeWebSocket.all[1]!;
    silent.receive({ type: 'welcome', clientId: 'a', heartbeatMs: 30 });
    await eventually(() => silent.isClosed);
    expect(silent.sent).toEqual(['{"type":"ping"}']);
    // Events after the disconnect are ignored.
    silent.receive({ type: 'push', id: '1-0', data: '' });
    silent.end(1006);
    expect(received).toEqual([]);
    expect(states.at(-1)).toMatchObject({
      type: 'waiting',
      code: 'TIMEOUT',
      reason: 'timeout while connected',
    });
  });

  test('stays closed after close code 4001', async () => {
    start({ webSocket });
    (await socket(1)).end(4001);
    expect(states.at(-1)).toEqual({ type: 'closed', reason: 'session-replaced' });
  });

  test('falls back to a stream when WebSockets fail', async () => {
    start({ webSocket });
    await eventually(() => FakeWebSocket.all.length === 1);
    FakeWebSocket.all[0]!.end(1006);
    await eventually(() => FakeWebSocket.all.length === 2);
    FakeWebSocket.all[1]!.end(1006);
    await stream(1);
    await eventually(() => states.at(-1)?.type === 'connected');
    expect(states.at(-1)).toEqual({ type: 'connected', via: 'stream' });
  });

  test('retries when the WebSocket constructor throws', async () => {
    let made = 0;
    class Rejected extends FakeWebSocket {
      constructor(target: string, protocols: string[]) {
        super(target, protocols);
        if (++made === 1) throw new SyntaxError('not here');
      }
    }
    start({ webSocket: Rejected });
    await socket(2);
    expect(states[1]).toMatchObject({
      type: 'waiting',
      code: 'NETWORK',
      reason: 'SyntaxError: not here',
    });
  });
});

describe('the application', () => {
  const push = (n: number) => line({ type: 'push', id: `${n}-0`, data: `${n}` });

  test.each(['throws', 'rejects'])('that %s gets the push again and is told', async (how) => {
    const errors: unknown[] = [];
    const calls: unknown[] = [];
    const full = new Error('full');
    start({
      onPush: ({ id }) => {
        calls.push(id);
        if (calls.length !== 2) return;
        if (how === 'throws') throw full;
        return Promise.reject(full);
      },
      onError: (error) => errors.push(error),
    });
    const { response } = await stream(1);
    response.write(push(1) + push(2) + push(3));
    const second = await stream(2);
    expect(second.request.url).toContain('&lastEventId=1-0');
    second.response.write(push(2) + push(3));
    await eventually(() => calls.length === 4);
    expect(calls).toEqual(['1-0', '2-0', '2-0', '3-0']);
    expect(errors).toEqual([full]);
    expect(states).toContainEqual({
      type: 'waiting',
      code: 'PUSH_FAILED',
      reason: 'Error: full',
      retryMs: expect.any(Number),
      attempts: 1,
    });
  });

  test('that returns promises gets one push after the other', async () => {
    const settle: (() => void)[] = [];
    start({
      webSocket: FakeWebSocket,
      onPush: (each) => {
        received.push(each);
        return new Promise<void>((resolve) => settle.push(resolve));
      },
    });
    const edge = await socket(1);
    for (let n = 1; n <= 3; n++) edge.receive({ type: 'push', id: `${n}-0`, data: '' });
    expect(received).toHaveLength(1);
    settle[0]!();
    await eventually(() => received.length === 2);
    await eventually(() => edge.sent.length > 0);
    expect(edge.sent).toEqual(['{"type":"ack","id":"1-0"}']);
    clients.at(-1)!.close();
    settle[1]!();
    expect(edge.sent).toHaveLength(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([received.length, edge.sent.length]).toEqual([2, 1]);
  });

  test('is awaited in onGap, too', async () => {
    let reloaded = () => {};
    start({
      onGap: () =>
        new Promise<void>((resolve) => {
          reloaded = resolve;
        }),
    });
    const { response } = await stream(1);
    response.write(line({ type: 'reset' }) + push(1) + line({ type: 'push', data: 'live' }));
    await eventually(() => states.at(-1)?.type === 'connected');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(received).toEqual([]);
    reloaded();
    await eventually(() => received.length === 2);
  });

  test('that throws in onState is told, and nothing else changes', async () => {
    const errors: unknown[] = [];
    const thrown = new Error('render');
    start({
      onState: () => {
        throw thrown;
      },
      onError: (error) => errors.push(error),
    });
    const { response } = await stream(1);
    response.write(push(1));
    await eventually(() => received.length === 1);
    expect(errors).toEqual([thrown, thrown]);
  });
});

describe('a rejection', () => {
  const json = (status: number, code: string) => (response: ServerResponse) =>
    response.writeHead(status).end(JSON.stringify({ error: { code, message: 'why' } }));
  const html = (status: number) => (response: ServerResponse) =>
    response.writeHead(status, { 'content-type': 'text/html' }).end('<html>');

  test.each<[string, (response: ServerResponse) => void, string]>([
    ['400', json(400, 'CLIENT_ID_INVALID'), 'CLIENT_ID_INVALID'],
    ['401 without a token', json(401, 'UNAUTHENTICATED'), 'UNAUTHENTICATED'],
    ['403', json(403, 'PERMISSION_DENIED'), 'PERMISSION_DENIED'],
    ['404', json(404, 'NOT_FOUND'), 'NOT_FOUND'],
    ['405', json(405, 'METHOD_NOT_ALLOWED'), 'METHOD_NOT_ALLOWED'],
    ['404 of another server', html(404), 'HTTP_404'],
    ['a page', html(200), 'NOT_A_ROUTER'],
    ['JSON without url', (response) => response.end('{}'), 'NOT_A_ROUTER'],
    ['a url that is none', (response) => response.end('{"url":"a"}'), 'NOT_A_ROUTER'],
    [
      'the events of an edge',
      (response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).write(':\n\n'),
      'NOT_A_ROUTER',
    ],
  ])('by %s closes the client', async (_, respond, code) => {
    respondToLookUp = respond;
    start();
    await eventually(() => states.at(-1)?.type === 'closed');
    expect(states.at(-1)).toEqual({
      type: 'closed',
      reason: 'rejected',
      code,
      message: expect.any(String),
    });
    expect(lookUps).toHaveLength(1);
  });

  test.each<[string, (response: ServerResponse) => void, string]>([
    ['503', json(503, 'NO_EDGE'), 'NO_EDGE'],
    ['429', json(429, 'RATE_LIMITED'), 'RATE_LIMITED'],
    ['408', json(408, 'HEAD_TIMEOUT'), 'HEAD_TIMEOUT'],
    ['502 of a proxy', html(502), 'HTTP_502'],
    ['a reset', (response) => response.destroy(), 'NETWORK'],
  ])('by %s is retried, with its code', async (_, respond, code) => {
    respondToLookUp = respond;
    start();
    await eventually(() => states.at(-1)?.type === 'waiting');
    expect(states.at(-1)).toMatchObject({ type: 'waiting', code });
    await eventually(() => lookUps.length >= 2);
  });

  test('of a second token closes the client', async () => {
    respondToLookUp = json(401, 'TOKEN_EXPIRED');
    let calls = 0;
    start({ token: async () => `token-${++calls}` });
    await eventually(() => states.at(-1)?.type === 'closed');
    expect(states.at(-1)).toMatchObject({ reason: 'rejected', code: 'TOKEN_EXPIRED' });
    expect([calls, lookUps.length]).toEqual([2, 2]);
  });

  test('by another server is retried when a router has worked before', async () => {
    start();
    const { response } = await stream(1);
    respondToLookUp = html(404);
    response.end();
    await eventually(() => lookUps.length >= 3);
    respondToLookUp = undefined;
    await stream(2);
  });

  test('by an edge is seen over the stream that follows two WebSockets', async () => {
    start({ webSocket: FakeWebSocket });
    for (let n = 1; n <= 2; n++) {
      await eventually(() => FakeWebSocket.all.length === n);
      FakeWebSocket.all[n - 1]!.end(1006);
    }
    await eventually(() => streams.length === 1);
    json(403, 'PERMISSION_DENIED')(streams[0]!.response);
    await eventually(() => states.at(-1)?.type === 'closed');
    expect(states.at(-1)).toMatchObject({ reason: 'rejected', code: 'PERMISSION_DENIED' });
  });

  test('by another server at the address of an edge is retried through the router', async () => {
    start();
    await eventually(() => streams.length === 1);
    html(404)(streams[0]!.response);
    await stream(2);
    expect(lookUps).toHaveLength(2);
  });
});
