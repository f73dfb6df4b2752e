/**
 * Goal: what clients of an HTTP server send or do not read is bounded, and requests are answered as
 * without the bounds.
 * Method: raw sockets against a server with a slow route and one that echoes bodies.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { FastifyInstance } from 'fastify';
import { HttpConnections } from '../../../common/http/connections.js';
import { createHttpServer, listenHttp } from '../../../common/http/server.js';
import { Metrics } from '../../../common/process/metrics.js';
import { READY } from '../../../common/process/readiness.js';
import { RawSocket } from '../../support/devices/raw-socket.js';
import { eventually } from '../../support/eventually.js';

const CONNECTIONS_MAX = 10;
const BIG_BYTES = 8 * 1024 * 1024;

let server: FastifyInstance;
let metrics: Metrics;
let port: number;
let sockets: RawSocket[];
let inProgress: number;
let inProgressMax: number;

beforeEach(async () => {
  metrics = new Metrics();
  const connections = new HttpConnections(metrics, 'router', CONNECTIONS_MAX);
  server = createHttpServer(metrics, connections, () => READY);
  server.get('/slow/:number', async (request) => {
    inProgressMax = Math.max(inProgressMax, ++inProgress);
    await sleep(1);
    inProgress--;
    return request.params;
  });
  server.post('/echo', { bodyLimit: 64 * 1024 }, async ({ body }) => body);
  server.get('/big', () => Buffer.alloc(BIG_BYTES, 'x'));
  port = await listenHttp(server, '127.0.0.1', 0);
  sockets = [];
  inProgress = inProgressMax = 0;
});
afterEach(async () => {
  for (const socket of sockets) socket.close();
  await server.close();
});

async function open(): Promise<RawSocket> {
  const socket = await RawSocket.connect(port);
  sockets.push(socket);
  return socket;
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`;
const post = (body: string) =>
  `POST /echo HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const chunkedPost = (body: string) =>
  'POST /echo HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n' +
  `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

async function metric(name: string, labels = ''): Promise<number> {
  const lines = (await metrics.registry.metrics()).split('\n');
  const series = `longline_router_http_${name}${labels} `;
  return Number(lines.find((line) => line.startsWith(series))?.slice(series.length) ?? 0);
}
const closed = (reason: string) => metric('connections_closed_total', `{reason="${reason}"}`);

/** Bodies of all responses, which are JSON without line breaks. */
const bodiesOf = (socket: RawSocket) => socket.text.match(/(?<=\r\n\r\n)\{[^\r]*?\}(?=HTTP|$)/g);

test('pipelined requests are answered one after the other, in order', async () => {
  const socket = await open();
  const numbers = Array.from({ length: 100 }, (_, i) => `${i}`);
  await socket.send(numbers.map((number) => get(`/slow/${number}`)).join(''));
  await eventually(() => bodiesOf(socket)?.length === numbers.length);
  expect(bodiesOf(socket)).toEqual(numbers.map((number) => JSON.stringify({ number })));
  expect(inProgressMax).toBe(1);
});

const request = fc.oneof(
  fc.nat(99).map((number) => ({ text: get(`/slow/${number}`), body: `{"number":"${number}"}` })),
  fc.constantFrom(post, chunkedPost).chain((write) =>
    fc
      .constantFrom('a', '\\n\\r\\n', 'GET / HTTP/1.1', 'x'.repeat(5_000))
      .map((text) => `{"text":"${text}"}`)
      .map((body) => ({ text: write(body), body })),
  ),
);

test('requests are answered alike however their bytes are divided', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, { minLength: 1, maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 8 }),
      async (requests, lengths) => {
        const socket = await open();
        const text = requests.map((each) => each.text).join('');
        for (let at = 0, i = 0; at < text.length; i++) {
          const length = i < lengths.length ? lengths[i]! : text.length;
          await socket.send(text.slice(at, at + length));
          at += length;
        }
        await eventually(() => bodiesOf(socket)?.length === requests.length);
        expect(bodiesOf(socket)).toEqual(requests.map(({ body }) => body));
        expect(inProgressMax).toBeLessThanOrEqual(2);
        socket.close();
      },
    ),
    { numRuns: 40 },
  );
});

test('a request that cannot be read is rejected behind the answers to earlier ones', async () => {
  const socket = await open();
  await socket.send(`${get('/slow/1')}G[T / HTTP/1.1\r\n\r\n`);
  await socket.untilEnded();
  expect(socket.text).toMatch(/^HTTP\/1\.1 200 .*"1"\}HTTP\/1\.1 400 .*REQUEST_MALFORMED/s);
  expect(await metric('unreadable_total', '{code="REQUEST_MALFORMED"}')).toBe(1);
});

test('a client that pipelines without end is disconnected', async () => {
  const socket = await open();
  socket.stopReading();
  // It sends more than the server and both kernels hold.
  for (let i = 0; i < 200; i++)
    await Promise.race([socket.send(get('/big').repeat(1_000)), sleep(5)]);
  await eventually(async () => (await closed('pipelined')) === 1);
});

test('of too many connections, the one that has waited longest for its client is closed', async () => {
  const [silent, slow, ...others] = await Promise.all(
    Array.from({ length: CONNECTIONS_MAX }, () => open()),
  );
  await eventually(async () => (await metric('connections')) === CONNECTIONS_MAX);
  // Its turn to be closed comes last.
  await slow!.send(get('/slow/1'));
  await slow!.untilText('"1"');
  for (let i = 0; i < CONNECTIONS_MAX - 1; i++) {
    const next = await open();
    await next.send(get('/slow/2'));
    await next.untilText('"2"');
  }
  await Promise.all([silent!, ...others].map((socket) => socket.untilEnded()));
  expect(slow!.isEnded).toBe(false);
  expect(await closed('full')).toBe(CONNECTIONS_MAX - 1);
  expect(await metric('connections')).toBe(CONNECTIONS_MAX);
});

test('responses that are not read are bounded in all', async () => {
  for (let i = 0; i < 6; i++) {
    const socket = await open();
    socket.stopReading();
    await socket.send(get('/big'));
    const bytes = Math.min(i + 1, 4) * BIG_BYTES;
    await eventually(async () => (await closed('unsent')) === Math.max(0, i - 3));
    await eventually(async () => (await metric('unsent_bytes')) === bytes);
  }
});

test('requests without an end and responses that are not read are given up', async () => {
  const head = await open();
  await head.send('GET / HTTP/1.1\r\n');
  const silent = await open();
  const unread = await open();
  unread.stopReading();
  await unread.send(get('/big'));
  await Promise.all([head.untilText('HEAD_TIMEOUT'), silent.untilText('408')]);
  await eventually(async () => (await closed('unread')) === 1);
  await eventually(async () => (await metric('connections')) === 0);
  expect(await metric('unsent_bytes')).toBe(0);
  expect(await metric('unreadable_total', '{code="HEAD_TIMEOUT"}')).toBe(2);
});
