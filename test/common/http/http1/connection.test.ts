/**
 * Goal: nothing that a client does not send or read keeps its connection open forever.
 * Method: one connection of the server on a real socket; the test says which time it is.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import type { BodySink } from '../../../../common/http/http1/body-decoder.js';
import { Http1Connection } from '../../../../common/http/http1/connection.js';
import type { Exchange } from '../../../../common/http/http1/exchange.js';
import { HeadCache } from '../../../../common/http/http1/head-cache.js';
import { eventually } from '../../../support/eventually.js';

const AGE_MS = 600_000;

let server: Server;
let client: Socket;
let connection: Http1Connection;
let exchanges: Exchange[];
let unreadable: string[];
/** Connections of this test only: a client of the test before may still be closing. */
let seen: { received: string; isClosed: boolean };

beforeEach(async () => {
  [exchanges, unreadable] = [[], []];
  const own = { received: '', isClosed: false };
  seen = own;
  server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  client = connect((server.address() as { port: number }).port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  const handler = {
    onRequest: (exchange: Exchange): BodySink => {
      exchanges.push(exchange);
      return { onData: () => {}, onEnd: () => {}, onMalformed: () => exchange.respond(answer) };
    },
    onUnreadable: ({ code }: { code: string }) => unreadable.push(code),
    onIdle: () => {},
  };
  connection = new Http1Connection(socket, handler, new HeadCache(), AGE_MS);
  client.on('data', (bytes) => {
    own.received += bytes;
  });
  client.on('close', () => {
    own.isClosed = true;
  });
});
afterEach(() => {
  client.destroy();
  connection.destroy();
  server.close();
  jest.restoreAllMocks();
});

const answer = { status: 200, body: '{}' };
const at = (seconds: number) => connection.check(performance.now() + seconds * 1_000);
const HEAD = 'POST / HTTP/1.1\r\nHost: a\r\n';
const EMPTY = `${HEAD}Content-Length: 0\r\n\r\n`;

async function request(text = EMPTY): Promise<Exchange> {
  const before = exchanges.length;
  client.write(text);
  await eventually(() => exchanges.length > before);
  return exchanges.at(-1)!;
}

test('a silent connection is closed after 10 s', async () => {
  expect(at(9)).toBeUndefined();
  expect(at(11)).toBe('idle');
  await eventually(() => seen.isClosed);
  expect(seen.received).toBe('');
});

test('one that has had a request may be idle for 72 s', async () => {
  (await request()).respond(answer);
  await eventually(() => seen.received.endsWith('{}'));
  expect(at(71)).toBeUndefined();
  expect(at(73)).toBe('idle');
  await eventually(() => seen.isClosed);
});

test('a request in progress may take any time', async () => {
  const exchange = await request();
  expect(at(100_000)).toBeUndefined();
  exchange.respond(answer);
  await eventually(() => seen.received.endsWith('{}'));
});

test('a head must be complete after 10 s', async () => {
  client.write(HEAD);
  await eventually(() => connection.socket.bytesRead > 0);
  expect(at(9)).toBeUndefined();
  expect(at(11)).toBe('request');
  await eventually(() => seen.isClosed);
  expect(seen.received).toMatch(/^HTTP\/1\.1 408 /);
  expect(unreadable).toEqual(['HEAD_TIMEOUT']);
});

test('a body must be complete after 20 s', async () => {
  await request(`${HEAD}Content-Length: 5\r\n\r\nabc`);
  expect(at(19)).toBeUndefined();
  expect(at(21)).toBe('request');
  await eventually(() => seen.isClosed);
  expect(seen.received).toMatch(/Connection: close/);
  expect(unreadable).toEqual(['REQUEST_TIMEOUT']);
});

test('responses must be read within 10 s', async () => {
  client.pause();
  const exchange = await request();
  exchange.respond({ status: 200, body: 'x'.repeat(32 * 1024 * 1024) });
  await eventually(() => !connection.isWritable);
  expect(at(9)).toBeUndefined();
  expect(at(11)).toBe('unread');
});

test('a client that does not close its side is disconnected 2 s after the last response', async () => {
  const exchange = await request(EMPTY.replace('Host', 'Connection: close\r\nHost'));
  client.allowHalfOpen = true;
  exchange.respond(answer);
  await eventually(() => seen.received.endsWith('{}'));
  await eventually(() => connection.socket.writableFinished);
  expect(at(1)).toBeUndefined();
  expect(seen.isClosed).toBe(false);
  at(3);
  await eventually(() => connection.isClosed);
});

test('after its maximum age it ends with the next response', async () => {
  jest.spyOn(performance, 'now').mockReturnValue(performance.now() + AGE_MS + 1_000);
  (await request()).respond(answer);
  await eventually(() => seen.isClosed);
  expect(seen.received).toContain('Connection: close');
});

test('a stream on a connection of maximum age is told, and is not cut', async () => {
  const exchange = await request(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
  let told = 0;
  exchange.onTooOld = () => told++;
  exchange.startStream('HTTP/1.1 200 OK\r\n\r\n');
  expect(at(AGE_MS / 1_000 - 1)).toBeUndefined();
  expect(told).toBe(0);
  expect(at(AGE_MS / 1_000 + 1)).toBeUndefined();
  expect(told).toBe(1);
});

test('requests that were pipelined wait for a stream, and are not read after it', async () => {
  const first = await request();
  const stream = await request(`${HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`);
  stream.startStream('STREAM ');
  stream.write('part ');
  client.write(EMPTY);
  first.respond(answer);
  stream.endStream('end');
  await eventually(() => seen.isClosed);
  expect(seen.received).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*\{\}STREAM part end$/);
  expect(exchanges).toHaveLength(2);
});
