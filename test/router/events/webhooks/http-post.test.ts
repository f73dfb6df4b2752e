/** Requests to webhooks that answer well, badly or not at all, on servers of this test. */
import { once } from 'node:events';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { collectGarbage } from '../../../../common/process/memory/collect-garbage.js';
import { HttpPoster } from '../../../../router/events/webhooks/http-post.js';

const LOOPBACK = ['127.0.0.0/8', '::1'];
const ANSWER_MS_MAX = 300;

const servers: Server[] = [];
const posters: HttpPoster[] = [];

afterEach(() => {
  for (const poster of posters.splice(0)) poster.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(listener: RequestListener): Promise<URL> {
  const server = createServer(listener);
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`);
}

function post(url: URL, networks = LOOPBACK): Promise<string | undefined> {
  const poster = new HttpPoster(networks, ANSWER_MS_MAX);
  posters.push(poster);
  const headers = { 'content-type': 'text/plain' };
  return poster.post({ url, headers, body: 'hello', signal: new AbortController().signal });
}

test('a status of 2xx is success, and the request has the body and the headers', async () => {
  const received: unknown[] = [];
  const url = await serve(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    received.push(request.method, request.headers['content-type'], String(Buffer.concat(chunks)));
    response.writeHead(204).end();
  });
  expect(await post(url)).toBeUndefined();
  expect(received).toEqual(['POST', 'text/plain', 'hello']);
});

test.each([500, 400, 410, 304])('the status %d is a failure', async (status) => {
  const url = await serve((_, response) => response.writeHead(status).end());
  expect(await post(url)).toBe(`status ${status}`);
});

test('a redirect is not followed', async () => {
  let requests = 0;
  const url = await serve((_, response) => {
    requests++;
    response.writeHead(301, { location: '/elsewhere' }).end();
  });
  expect(await post(url)).toBe('status 301');
  expect(requests).toBe(1);
});

test('an answer of 10 MB is not read to its end', async () => {
  let answer: ServerResponse | undefined;
  const url = await serve((request, response) => {
    request.resume();
    answer = response.writeHead(200);
    const write = () => {
      while (!response.destroyed && response.write(Buffer.alloc(10_000)));
      response.once('drain', write);
    };
    write();
  });
  expect(await post(url)).toBeUndefined();
  // It would write forever.
  await once(answer!, 'close');
});

test('an endpoint that hangs fails also when garbage is collected meanwhile', async () => {
  const timer = setInterval(collectGarbage, ANSWER_MS_MAX / 10);
  const outcome = await post(await serve(() => {}));
  clearInterval(timer);
  expect(outcome).toBe(`no answer within ${ANSWER_MS_MAX} ms`);
});

test('an endpoint that hangs, or closes the connection, fails', async () => {
  const hanging = await serve(() => {});
  expect(await post(hanging)).toBe(`no answer within ${ANSWER_MS_MAX} ms`);
  const closing = await serve((request) => request.socket.destroy());
  expect(await post(closing)).toBe('socket hang up');
  const { port } = closing;
  for (const server of servers) server.close();
  servers[1]!.closeAllConnections();
  expect(await post(new URL(`http://127.0.0.1:${port}/`))).toMatch(/ECONNREFUSED|hang up/);
});

test.each([
  'http://127.0.0.1:9/',
  'http://[::1]:9/',
  'http://[::ffff:127.0.0.1]:9/',
  'http://169.254.169.254/latest',
  'http://2130706433:9/',
  'http://localhost:9/',
])('%s is reached only where its network is allowed', async (url) => {
  expect(await post(new URL(url), [])).toContain('is not public');
  expect(await post(new URL(url), ['127.0.0.0/8', '::1', '169.254.0.0/16'])).not.toContain(
    'is not public',
  );
});
