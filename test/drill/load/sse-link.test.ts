import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import type { LinkEvent } from '../../../drill/load/link.js';
import { SseLink } from '../../../drill/load/sse-link.js';

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n';
const CHUNKED_HEAD =
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';
const EVENTS =
  'retry: 1000\n:\nid: 5-0\ndata: é𝄞\n\n:\n:\nevent: reset\ndata: {}\n\ndata: a\ndata: b\n\n' +
  'retry: 70\nevent: goaway\ndata: {}\n\n';
const servers: { close(): void }[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** Starts a server that calls `answer` with each request. Resolves with its URL. */
async function serve(answer: (request: string, socket: Socket) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (request) => answer(request.toString(), socket));
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Resolves with all events and the reason of the end when the peer closes the link. */
function readAll(url: string, cursor = ''): Promise<{ events: LinkEvent[]; end: string }> {
  const events: LinkEvent[] = [];
  return new Promise((resolve) => {
    new SseLink(
      new URL('/connect?clientId=a', url),
      cursor,
      {},
      {
        onOpen: (edge) => events.push({ name: 'OPEN', messageId: '', text: edge }),
        onEvent: (event) => events.push(event),
        onClose: (end) => resolve({ events, end }),
      },
    );
  });
}

const chunkOf = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;

test.each([
  ['until the connection closes', HEAD, (text: string) => text],
  [
    'in chunks',
    CHUNKED_HEAD,
    (text: string) =>
      `${text
        .split(/(?<=\n)/)
        .map(chunkOf)
        .join('')}0\r\n\r\n`,
  ],
])(
  'reads events %s, whole or one byte at a time, and ignores comments',
  async (_, head, encode) => {
    const stream = `${head}${encode(EVENTS)}`;
    const whole = await serve((_, socket) => socket.end(stream));
    const slow = await serve(async (_, socket) => {
      socket.setNoDelay(true);
      for (const byte of Buffer.from(stream)) {
        socket.write(Buffer.of(byte));
        await new Promise(setImmediate);
      }
      socket.end();
    });
    for (const url of [whole, slow]) {
      const { events, end } = await readAll(url);
      expect(events).toEqual([
        { name: 'OPEN', messageId: '', text: new URL(url).host },
        { name: 'message', messageId: '5-0', text: 'é𝄞', retryMs: 1_000 },
        { name: 'reset', messageId: '', text: '{}' },
        { name: 'message', messageId: '', text: 'a\nb' },
        { name: 'goaway', messageId: '', text: '{}', retryMs: 70 },
      ]);
      expect(end).toBe('ended by the edge');
    }
  },
);

test.each([
  ['a size that is not hexadecimal', '2g\r\ndata\r\n'],
  ['a size that is too small', '3\r\ndata\r\n'],
  ['bytes after the last chunk', '0\r\n\r\n0\r\n\r\n'],
])('ends at %s', async (_, body) => {
  const url = await serve((_request, socket) => socket.write(`${CHUNKED_HEAD}${body}`));
  expect((await readAll(url)).end).toMatch(/chunk/);
});

test('follows a redirect and repeats Last-Event-ID', async () => {
  let request = '';
  const edge = await serve((text, socket) => {
    request = text;
    socket.end(`${HEAD}data: x\n\n`);
  });
  const router = await serve((_, socket) =>
    socket.end(`HTTP/1.1 307 Temporary Redirect\r\nlocation: ${edge}/connect?epoch=1-2\r\n\r\n`),
  );
  const { events } = await readAll(router, '7-1');
  expect(events.map(({ text }) => text)).toEqual([new URL(edge).host, 'x']);
  expect(request).toContain('GET /connect?epoch=1-2 HTTP/1.1\r\n');
  expect(request).toContain('\r\nLast-Event-ID: 7-1\r\n');
});

test('follows a limited number of redirects', async () => {
  let requests = 0;
  const router: string = await serve((_, socket) => {
    requests++;
    socket.end(`HTTP/1.1 307 Temporary Redirect\r\nLocation: ${router}/connect\r\n\r\n`);
  });
  expect((await readAll(router)).end).toBe('answered 307');
  expect(requests).toBe(6);
});

test('reports the reason of the end', async () => {
  const busy = await serve((_, socket) => socket.end('HTTP/1.1 503 Service Unavailable\r\n\r\n'));
  expect((await readAll(busy)).end).toBe('answered 503');
  const resetting = await serve((_, socket) => socket.resetAndDestroy());
  expect((await readAll(resetting)).end).toBe('ECONNRESET');
  expect((await readAll('http://127.0.0.1:1')).end).toBe('ECONNREFUSED');
});
