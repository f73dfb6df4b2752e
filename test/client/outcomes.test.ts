/**
 * Goal: the application learns of every failure, its own and rejections, and loses no push by one.
 * Method: as in connect.test.ts.
 */
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.js';
import { clients, FakeWebSocket, fake, line, socket, start, stream } from './fake-server.js';

beforeEach(() => fake.open());

afterEach(() => fake.close());

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
    expect(fake.states).toContainEqual({
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
        fake.received.push(each);
        return new Promise<void>((resolve) => settle.push(resolve));
      },
    });
    const edge = await socket(1);
    for (let n = 1; n <= 3; n++) edge.receive({ type: 'push', id: `${n}-0`, data: '' });
    expect(fake.received).toHaveLength(1);
    settle[0]!();
    await eventually(() => fake.received.length === 2);
    await eventually(() => edge.sent.length > 0);
    expect(edge.sent).toEqual(['{"type":"ack","id":"1-0"}']);
    clients.at(-1)!.close();
    settle[1]!();
    expect(edge.sent).toHaveLength(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([fake.received.length, edge.sent.length]).toEqual([2, 1]);
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
    await eventually(() => fake.states.at(-1)?.type === 'connected');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(fake.received).toEqual([]);
    reloaded();
    await eventually(() => fake.received.length === 2);
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
    await eventually(() => fake.received.length === 1);
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
    fake.respondToLookUp = respond;
    start();
    await eventually(() => fake.states.at(-1)?.type === 'closed');
    expect(fake.states.at(-1)).toEqual({
      type: 'closed',
      reason: 'rejected',
      code,
      message: expect.any(String),
    });
    expect(fake.lookUps).toHaveLength(1);
  });

  test.each<[string, (response: ServerResponse) => void, string]>([
    ['503', json(503, 'NO_EDGE'), 'NO_EDGE'],
    ['429', json(429, 'RATE_LIMITED'), 'RATE_LIMITED'],
    ['408', json(408, 'HEAD_TIMEOUT'), 'HEAD_TIMEOUT'],
    ['502 of a proxy', html(502), 'HTTP_502'],
    ['a reset', (response) => response.destroy(), 'NETWORK'],
  ])('by %s is retried, with its code', async (_, respond, code) => {
    fake.respondToLookUp = respond;
    start();
    await eventually(() => fake.states.at(-1)?.type === 'waiting');
    expect(fake.states.at(-1)).toMatchObject({ type: 'waiting', code });
    await eventually(() => fake.lookUps.length >= 2);
  });

  test('of a second token closes the client', async () => {
    fake.respondToLookUp = json(401, 'TOKEN_EXPIRED');
    let calls = 0;
    start({ token: async () => `token-${++calls}` });
    await eventually(() => fake.states.at(-1)?.type === 'closed');
    expect(fake.states.at(-1)).toMatchObject({ reason: 'rejected', code: 'TOKEN_EXPIRED' });
    expect([calls, fake.lookUps.length]).toEqual([2, 2]);
  });

  test('by another server is retried when a router has worked before', async () => {
    start();
    const { response } = await stream(1);
    fake.respondToLookUp = html(404);
    response.end();
    await eventually(() => fake.lookUps.length >= 3);
    fake.respondToLookUp = undefined;
    await stream(2);
  });

  test('by an edge is seen over the stream that follows two WebSockets', async () => {
    start({ webSocket: FakeWebSocket });
    for (let n = 1; n <= 2; n++) {
      await eventually(() => FakeWebSocket.all.length === n);
      FakeWebSocket.all[n - 1]!.end(1006);
    }
    await eventually(() => fake.streams.length === 1);
    json(403, 'PERMISSION_DENIED')(fake.streams[0]!.response);
    await eventually(() => fake.states.at(-1)?.type === 'closed');
    expect(fake.states.at(-1)).toMatchObject({ reason: 'rejected', code: 'PERMISSION_DENIED' });
  });

  test('by another server at the address of an edge is retried through the router', async () => {
    start();
    await eventually(() => fake.streams.length === 1);
    html(404)(fake.streams[0]!.response);
    await stream(2);
    expect(fake.lookUps).toHaveLength(2);
  });
});
