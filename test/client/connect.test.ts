/**
 * Goal: the client performs the machine's actions over a real stream and over a fake WebSocket.
 * Method: one HTTP server is both router and edge; each test writes its responses.
 */
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.js';
import {
  clients,
  FakeWebSocket,
  fake,
  line,
  socket,
  start,
  stream,
  typesOf,
} from './fake-server.js';

beforeEach(() => fake.open());

afterEach(() => fake.close());

describe('over a stream', () => {
  test('connects to the router, then to the edge, with the exact clientId', async () => {
    start();
    const { request } = await stream(1);
    expect(fake.lookUps[0]!.url).toBe('/connect?clientId=al%20ice%2B1');
    expect(request.url).toBe('/connect?clientId=al%20ice%2B1&epoch=1-5');
    expect(request.headers.accept).toBe('application/x-ndjson');
    await eventually(() => fake.states.at(-1)?.type === 'connected');
    expect(fake.states).toEqual([{ type: 'connecting' }, { type: 'connected', via: 'stream' }]);
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
    await eventually(() => fake.received.length === 2);
    expect(fake.received).toEqual([
      { id: '1-0', data: 'grüße 🦈\r\n' },
      { data: Uint8Array.of(255, 0) },
    ]);
    expect(fake.gaps).toBe(1);
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
    expect(fake.lookUps).toHaveLength(3);
  });

  test('follows a goaway to its url and queries the router when that fails', async () => {
    start();
    const { response } = await stream(1);
    response.write(
      line({ type: 'goaway', retryMs: 10, url: `${fake.url}/connect?clientId=moved` }),
    );
    await eventually(() => fake.streams.length === 2);
    expect(fake.streams[1]!.request.url).toBe('/connect?clientId=moved');
    expect(fake.lookUps).toHaveLength(1);
    fake.streams[1]!.response.writeHead(503).end('no');
    await stream(3);
    expect(fake.lookUps).toHaveLength(2);
    const waiting = fake.states.filter(({ type }) => type === 'waiting');
    expect(waiting).toEqual([
      { type: 'waiting', retryMs: 10, code: 'GOAWAY', reason: 'goaway' },
      { type: 'waiting', retryMs: expect.any(Number), code: 'HTTP_503', reason: 'HTTP 503: no' },
    ]);
  });

  test('waits at least as long as Retry-After', async () => {
    fake.respondToLookUp = (response) => response.writeHead(503, { 'Retry-After': '7' }).end('');
    start();
    await eventually(() => fake.states.at(-1)?.type === 'waiting');
    expect((fake.states.at(-1) as { retryMs: number }).retryMs).toBeGreaterThanOrEqual(7_000);
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
    fake.ticket = '&ticket=t1';
    let calls = 0;
    start({ token: async () => `token-${++calls}` });
    const { request, response } = await stream(1);
    expect(fake.lookUps[0]!.headers.authorization).toBe('Bearer token-1');
    expect(request.headers.authorization).toBeUndefined();
    expect(request.url).toContain('&ticket=t1');
    const target = `${fake.url}/connect?clientId=moved&ticket=t2`;
    response.write(line({ type: 'goaway', retryMs: 1, url: target }));
    const moved = await stream(2);
    expect(moved.request.url).toBe('/connect?clientId=moved&ticket=t2');
    expect([calls, fake.lookUps.length]).toEqual([1, 1]);
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
    expect(fake.states[1]).toMatchObject({
      type: 'waiting',
      code: 'TOKEN_FAILED',
      reason: 'token: Error: logged out',
    });
  });

  test('closes while connected and during a lookup', async () => {
    const connected = start();
    const { response } = await stream(1);
    await eventually(() => fake.states.at(-1)?.type === 'connected');
    connected.close();
    await once(response, 'close');
    expect(fake.states.at(-1)).toEqual({ type: 'closed', reason: 'closed' });
    fake.respondToLookUp = () => {};
    fake.states = [];
    const lookingUp = start();
    await eventually(() => fake.lookUps.length === 2);
    lookingUp.close();
    await eventually(() => fake.lookUps[1]!.destroyed);
    expect(typesOf()).toEqual(['connecting', 'closed']);
  });

  test('stays closed after its session is replaced', async () => {
    start();
    const { response } = await stream(1);
    response.end(line({ type: 'session-replaced' }));
    await eventually(() => fake.states.at(-1)?.type === 'closed');
    expect(fake.states.at(-1)).toEqual({ type: 'closed', reason: 'session-replaced' });
    expect(fake.lookUps).toHaveLength(1);
  });

  test('can be closed in a callback', async () => {
    const client = start({
      onPush: (push) => {
        fake.received.push(push);
        client.close();
      },
    });
    const { response } = await stream(1);
    const push = (n: number) => line({ type: 'push', id: `1-${n}`, data: '' });
    response.write(push(1) + push(2));
    await eventually(() => fake.states.at(-1)?.type === 'closed');
    expect(fake.received).toHaveLength(1);
  });
});

describe('over a WebSocket', () => {
  const webSocket = FakeWebSocket;

  test('offers longline.json to the edge that the router returns', async () => {
    start({ webSocket, lastEventId: '1-0' });
    const { url: requested, protocols } = await socket(1);
    const edge = fake.url.replace('http:', 'ws:');
    expect(requested).toBe(`${edge}/connect?clientId=al%20ice%2B1&epoch=1-5&lastEventId=1-0`);
    expect(protocols).toEqual(['longline.json']);
    expect(fake.states.at(-1)).toEqual({ type: 'connected', via: 'websocket' });
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
    expect(fake.received).toEqual([]);
    expect(fake.states).toContainEqual({
      type: 'waiting',
      code: 'TIMEOUT',
      reason: 'timeout while connected',
      retryMs: expect.any(Number),
    });
  });

  test('stays closed after close code 4001', async () => {
    start({ webSocket });
    (await socket(1)).end(4001);
    expect(fake.states.at(-1)).toEqual({ type: 'closed', reason: 'session-replaced' });
  });

  test('falls back to a stream when WebSockets fail', async () => {
    start({ webSocket });
    await eventually(() => FakeWebSocket.all.length === 1);
    FakeWebSocket.all[0]!.end(1006);
    await eventually(() => FakeWebSocket.all.length === 2);
    FakeWebSocket.all[1]!.end(1006);
    await stream(1);
    await eventually(() => fake.states.at(-1)?.type === 'connected');
    expect(fake.states.at(-1)).toEqual({ type: 'connected', via: 'stream' });
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
    expect(fake.states[1]).toMatchObject({
      type: 'waiting',
      code: 'NETWORK',
      reason: 'SyntaxError: not here',
    });
  });
});
