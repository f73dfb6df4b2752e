/**
 * Goal: what the machine decides is done, over a real stream and over anything that has the shape
 * of a browser's WebSocket.
 * Method: a server that is both router and edge and says what the test tells it to.
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
/** Of the server, as router and as edge. */
let url: string;
/** Requests to the edge, oldest first, with what answers them. */
let streams: { request: IncomingMessage; response: ServerResponse }[];
let lookUps: IncomingMessage[];
/** What a look-up is answered, unless with the URL of the edge. */
let rejectLookUp: ((response: ServerResponse) => void) | undefined;

/** What the URL of the edge ends with. */
let ticket: string;

const clients: Client[] = [];
let got: Push[];
let states: ClientState[];
let gaps: number;

beforeEach(async () => {
  streams = [];
  lookUps = [];
  rejectLookUp = undefined;
  ticket = '';
  got = [];
  states = [];
  gaps = 0;
  FakeWebSocket.all = [];
  server = createServer((request, response) => {
    if (request.headers.accept !== 'application/json') {
      streams.push({ request, response });
      return;
    }
    lookUps.push(request);
    if (rejectLookUp !== undefined) return rejectLookUp(response);
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
    onPush: (push) => got.push(push),
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

/** What is said next: the stream of the `count`th request, with its welcome written. */
async function stream(count: number, welcome = WELCOME) {
  await eventually(() => streams.length === count);
  const { request, response } = streams[count - 1]!;
  response.write(welcome);
  return { request, response };
}

/** Has the shape of a WebSocket, and says what it is told. */
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

  hear(message: object): void {
    (this.onmessage as (event: { data: unknown }) => void)({ data: JSON.stringify(message) });
  }

  end(code: number): void {
    (this.onclose as (event: { code: number; reason: string }) => void)({ code, reason: '' });
  }
}

async function socket(count: number): Promise<FakeWebSocket> {
  await eventually(() => FakeWebSocket.all.length === count);
  const last = FakeWebSocket.all[count - 1]!;
  last.hear({ type: 'welcome', clientId: 'a', heartbeatMs: 15_000, ticket: `ticket-${count}` });
  return last;
}

describe('over a stream', () => {
  test('asks the router, then the edge, with the clientId as it is', async () => {
    start();
    const { request } = await stream(1);
    expect(lookUps[0]!.url).toBe('/connect?clientId=al%20ice%2B1');
    expect(request.url).toBe('/connect?clientId=al%20ice%2B1&epoch=1-5');
    expect(request.headers.accept).toBe('application/x-ndjson');
    await eventually(() => states.at(-1)?.type === 'connected');
    expect(states).toEqual([{ type: 'connecting' }, { type: 'connected', via: 'stream' }]);
  });

  test('hears lines wherever they are cut', async () => {
    start();
    const { response } = await stream(1);
    const lines =
      line({ type: 'push', id: '1-0', data: 'grüße 🦈\r\n' }) +
      line({ type: 'reset' }) +
      line({ type: 'push', base64: '/wA=' });
    for (const byte of Buffer.from(lines)) {
      await new Promise((written) => response.write(Buffer.of(byte), written));
    }
    await eventually(() => got.length === 2);
    expect(got).toEqual([{ id: '1-0', data: 'grüße 🦈\r\n' }, { data: Uint8Array.of(255, 0) }]);
    expect(gaps).toBe(1);
  });

  test('resumes with its newest id when the stream ends or breaks', async () => {
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

  test('follows a goaway to its target, and asks the router when that fails', async () => {
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
      { type: 'waiting', retryMs: 10, why: 'goaway' },
      { type: 'waiting', retryMs: expect.any(Number), why: 'HTTP 503: no' },
    ]);
  });

  test('waits as long as a rejection says', async () => {
    rejectLookUp = (response) => response.writeHead(503, { 'Retry-After': '7' }).end('');
    start();
    await eventually(() => states.at(-1)?.type === 'waiting');
    expect((states.at(-1) as { retryMs: number }).retryMs).toBeGreaterThanOrEqual(7_000);
  });

  test('takes a router that names no edge for one that failed', async () => {
    rejectLookUp = (response) => response.end('{}');
    start();
    await eventually(() => states.at(-1)?.type === 'waiting');
    expect(states.at(-1)).toMatchObject({ why: 'the router names no edge' });
  });

  test('ends a connection that is silent for two heartbeats', async () => {
    start();
    const { response } = await stream(1, line({ type: 'welcome', heartbeatMs: 30 }));
    await once(response, 'close');
    await stream(2);
  });

  test('shows a token that is asked for anew each time', async () => {
    let calls = 0;
    start({ token: async () => `token-${++calls}` });
    const { request, response } = await stream(1);
    expect(request.headers.authorization).toBe('Bearer token-1');
    response.end();
    expect((await stream(2)).request.headers.authorization).toBe('Bearer token-2');
  });

  test('shows its token to the router alone when that gives it a ticket for the edge', async () => {
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

  test('tries again when there is no token to be had', async () => {
    let calls = 0;
    start({
      token: async () => {
        if (++calls === 1) throw new Error('logged out');
        return 'token';
      },
    });
    await stream(1);
    expect(states[1]).toMatchObject({ type: 'waiting', why: 'Error: logged out' });
  });

  test('ends when it is closed, whatever it is doing', async () => {
    const connected = start();
    const { response } = await stream(1);
    await eventually(() => states.at(-1)?.type === 'connected');
    connected.close();
    await once(response, 'close');
    expect(states.at(-1)).toEqual({ type: 'closed', why: 'closed' });
    rejectLookUp = () => {};
    states = [];
    const asking = start();
    await eventually(() => lookUps.length === 2);
    asking.close();
    await eventually(() => lookUps[1]!.destroyed);
    expect(typesOf()).toEqual(['connecting', 'closed']);
  });

  test('stops when it is taken over', async () => {
    start();
    const { response } = await stream(1);
    response.end(line({ type: 'session-replaced' }));
    await eventually(() => states.at(-1)?.type === 'closed');
    expect(states.at(-1)).toEqual({ type: 'closed', why: 'session-replaced' });
    expect(lookUps).toHaveLength(1);
  });

  test('can be closed by what it calls', async () => {
    const client = start({
      onPush: (push) => {
        got.push(push);
        client.close();
      },
    });
    const { response } = await stream(1);
    const push = (n: number) => line({ type: 'push', id: `1-${n}`, data: '' });
    response.write(push(1) + push(2));
    await eventually(() => states.at(-1)?.type === 'closed');
    expect(got).toHaveLength(1);
  });
});

describe('over a WebSocket', () => {
  const webSocket = FakeWebSocket;

  test('speaks longline.json to the edge that the router names', async () => {
    start({ webSocket, lastEventId: '1-0' });
    const { url: asked, protocols } = await socket(1);
    const edge = url.replace('http:', 'ws:');
    expect(asked).toBe(`${edge}/connect?clientId=al%20ice%2B1&epoch=1-5&lastEventId=1-0`);
    expect(protocols).toEqual(['longline.json']);
    expect(states.at(-1)).toEqual({ type: 'connected', via: 'websocket' });
  });

  test('confirms what came, all at once', async () => {
    start({ webSocket });
    const edge = await socket(1);
    for (let n = 0; n < 3; n++) edge.hear({ type: 'push', id: `1-${n}`, data: `${n}` });
    expect(edge.sent).toEqual([]);
    await eventually(() => edge.sent.length > 0);
    expect(edge.sent).toEqual(['{"type":"ack","id":"1-2"}']);
    edge.hear({ type: 'push', id: '1-3', data: '' });
    clients.at(-1)!.close();
    expect(edge.sent.at(-1)).toBe('{"type":"ack","id":"1-3"}');
    expect(edge.isClosed).toBe(true);
  });

  test('shows its token as a subprotocol, then the newest ticket, then a token again', async () => {
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

  test('sends a new token when its own is about to end', async () => {
    let calls = 0;
    start({ webSocket, token: async () => `jwt-${++calls}` });
    const edge = await socket(1);
    edge.hear({ type: 'expiring', inMs: 60_000 });
    await eventually(() => edge.sent.length > 0);
    expect(edge.sent).toEqual(['{"type":"token","token":"jwt-2"}']);
  });

  test('asks a silent edge, and leaves it', async () => {
    start({ webSocket });
    const edge = await socket(1);
    edge.hear({ type: 'goaway', retryMs: 1 });
    await eventually(() => FakeWebSocket.all.length === 2);
    const silent = FakeWebSocket.all[1]!;
    silent.hear({ type: 'welcome', clientId: 'a', heartbeatMs: 30 });
    await eventually(() => silent.isClosed);
    expect(silent.sent).toEqual(['{"type":"ping"}']);
    // What it says now is not heard any more.
    silent.hear({ type: 'push', id: '1-0', data: '' });
    silent.end(1006);
    expect(got).toEqual([]);
    expect(states.at(-1)).toMatchObject({ type: 'waiting', why: 'the edge is silent' });
  });

  test('stops when the edge closes it as taken over', async () => {
    start({ webSocket });
    (await socket(1)).end(4001);
    expect(states.at(-1)).toEqual({ type: 'closed', why: 'session-replaced' });
  });

  test('falls back to a stream when WebSockets come to nothing', async () => {
    start({ webSocket });
    await eventually(() => FakeWebSocket.all.length === 1);
    FakeWebSocket.all[0]!.end(1006);
    await eventually(() => FakeWebSocket.all.length === 2);
    FakeWebSocket.all[1]!.end(1006);
    await stream(1);
    await eventually(() => states.at(-1)?.type === 'connected');
    expect(states.at(-1)).toEqual({ type: 'connected', via: 'stream' });
  });

  test('goes on when a WebSocket cannot even be made', async () => {
    let made = 0;
    class Rejected extends FakeWebSocket {
      constructor(target: string, protocols: string[]) {
        super(target, protocols);
        if (++made === 1) throw new SyntaxError('not here');
      }
    }
    start({ webSocket: Rejected });
    await socket(2);
    expect(states[1]).toMatchObject({ type: 'waiting', why: 'SyntaxError: not here' });
  });
});
