/**
 * Goal: a stream does not end for a bad line, and holds a bounded number of pushes. Method: the
 * real server with a pusher that answers when the test says so; lines over `node:http` and `fetch`.
 */
import { request as httpRequest } from 'node:http';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { eventually } from '../../../support/eventually.js';
import { TestRouter } from './test-router.js';

let router: TestRouter;
beforeEach(async () => {
  router = await TestRouter.start();
});
afterEach(() => router.stop());

/** A stream whose requests and results are lines. */
function openStream() {
  const lines: { correlationId: string | null; verdict?: string; error?: { code: string } }[] = [];
  const request = httpRequest({
    port: router.port,
    host: '127.0.0.1',
    method: 'POST',
    path: '/v1/push:stream',
    agent: false,
    headers: { 'content-type': 'application/x-ndjson' },
  });
  const ended = new Promise<void>((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response) => {
      let rest = '';
      response.on('data', (bytes) => {
        const parts = `${rest}${bytes}`.split('\n');
        rest = parts.pop()!;
        lines.push(...parts.map((line) => JSON.parse(line)));
      });
      response.on('end', resolve);
      response.on('error', reject);
    });
  });
  ended.catch(() => {});
  const summary = () =>
    lines.map(({ correlationId, verdict, error }) => `${correlationId} ${verdict ?? error?.code}`);
  return { request, lines, summary, ended };
}

const line = (id: string, members = '"payload":1') =>
  `{"correlationId":"${id}","clientId":"a",${members}}\n`;

test('has 1,000 pushes in flight, and their results as they come', async () => {
  router.answers = [];
  const stream = openStream();
  for (let i = 0; i < 1_000; i++) stream.request.write(line(`${i}`));
  await eventually(() => router.answers!.length === 1_000);
  for (const answer of router.answers.toReversed()) answer();
  await eventually(() => stream.lines.length === 1_000);
  expect(stream.lines[0]).toEqual({
    ...{ correlationId: '999', verdict: 'STORED', messageId: '1-0', acceptLevel: 'accepted' },
  });
  expect(new Set(stream.summary()).size).toBe(1_000);
  stream.request.end();
  await stream.ended;
});

test('does not end for a bad line', async () => {
  const stream = openStream();
  stream.request.write('no JSON\n\n\r\n');
  stream.request.write(line('1', '"payload":1,"ttl":1'));
  stream.request.write(line('2', '"payload":1,"payload":2'));
  stream.request.write(line('3', '"ttlMs":1'));
  stream.request.write('{"clientId":"a","payload":1}\n');
  stream.request.write(line('4', `"payloadText":"${'x'.repeat(3 * 2 ** 20)}"`));
  stream.request.write(Buffer.from('ff0a', 'hex'));
  stream.request.end(line('5').trim());
  await stream.ended;
  expect(stream.summary().sort()).toEqual(
    [
      ...['null REQUEST_MALFORMED', '1 REQUEST_MALFORMED', 'null REQUEST_MALFORMED'],
      ...['3 REQUEST_MALFORMED', 'null REQUEST_MALFORMED', 'null PAYLOAD_TOO_LARGE'],
      ...['null REQUEST_MALFORMED', '5 STORED'],
    ].sort(),
  );
});

test('is not read beyond its bounds', async () => {
  router.answers = [];
  const stream = openStream();
  const big = `"payloadText":"${'x'.repeat(400_000)}"`;
  for (let i = 0; i < 20; i++) stream.request.write(line(`${i}`, big));
  stream.request.end();
  // Three payloads are over the bound; the rest waits with the caller and in the kernel.
  await eventually(() => router.answers!.length === 3);
  await setImmediate();
  expect(router.answers).toHaveLength(3);
  await eventually(() => {
    for (const answer of router.answers!.splice(0)) answer();
    return stream.lines.length === 20;
  });
  await stream.ended;
});

test('answers what was read when the router stops, and names the reason', async () => {
  router.answers = [];
  const stream = openStream();
  stream.request.write(line('1'));
  await eventually(() => router.answers!.length === 1);
  router.stopping.abort();
  const stopped = router.server.stop(5_000);
  stream.request.write(line('2'));
  router.answers[0]!();
  await stream.ended;
  expect(stream.summary()).toEqual(['1 STORED', 'null NOT_READY']);
  await stopped;
  expect(router.begun).toHaveLength(1);
});

test('that is malformed ends with the reason', async () => {
  const { socket, text, closed } = router.open();
  const type = 'Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked';
  const head = `POST /v1/push:stream HTTP/1.1\r\nHost: a\r\n${type}\r\n\r\n`;
  const body = line('1');
  socket.write(`${head}${body.length.toString(16)}\r\n${body}\r\nno size\r\n`);
  await eventually(closed);
  expect(text()).toMatch(
    /"1","verdict":"STORED"[\s\S]*null,"error":\{"code":"REQUEST_MALFORMED"[\s\S]*\r\n0\r\n\r\n$/,
  );
});

test('needs HTTP/1.1', async () => {
  const { socket, text, closed } = router.open();
  const type = 'Content-Type: application/x-ndjson\r\nContent-Length: 0\r\n\r\n';
  socket.write(`POST /v1/push:stream HTTP/1.0\r\n${type}`);
  await eventually(closed);
  expect(text()).toMatch(/505/);
});

test('works with fetch', async () => {
  const body = Readable.toWeb(Readable.from([line('1'), line('2')])) as ReadableStream;
  const options = { method: 'POST', body, duplex: 'half' } as const;
  const response = await fetch(router.url('/v1/push:stream'), {
    ...options,
    headers: { 'content-type': 'application/x-ndjson' },
  });
  expect(response.status).toBe(200);
  const text = String(await buffer(response.body!));
  expect(text.trim().split('\n')).toHaveLength(2);
});
