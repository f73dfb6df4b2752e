/**
 * Goal: what a connection may hold and how long it may take is bounded, and requests are answered
 * in order. Method: the real server; bytes that the test composes.
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { eventually } from '../../../support/eventually.js';
import { CONNECTIONS_MAX, pushText, requestText, TestRouter } from './test-router.js';

let router: TestRouter;
beforeEach(async () => {
  router = await TestRouter.start();
});
afterEach(() => router.stop());

test('answers pipelined requests in their order, and processes them together', async () => {
  router.answers = [];
  const { socket, text } = router.open();
  socket.write(['a', 'b', 'c'].map(pushText).join('').repeat(40));
  await eventually(() => router.answers!.length === 64);
  expect(router.begun.slice(0, 3).map(({ clientId }) => clientId)).toEqual(['a', 'b', 'c']);
  // The first is answered last.
  for (const answer of router.answers!.slice(1)) answer();
  expect(text()).toBe('');
  router.answers[0]!();
  router.answers = undefined;
  await eventually(() => text().split('HTTP/1.1 200 OK').length === 121);
});

test('stays open after a rejected body', async () => {
  const { socket, text } = router.open();
  socket.write(requestText('no') + pushText('a'));
  await eventually(() => /400 Bad Request[\s\S]*200 OK/.test(text()));
  expect(text()).not.toContain('Connection: close');
});

test('reads a chunked body, byte by byte', async () => {
  const { socket, text } = router.open();
  const body = '{"clientId":"a","payload":"é"}';
  const chunks = Array.from(Buffer.from(body), (byte) =>
    Buffer.concat([Buffer.from('1\r\n'), Buffer.of(byte), Buffer.from('\r\n')]),
  );
  socket.write(
    'POST /v1/push HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n' +
      'Transfer-Encoding: chunked\r\n\r\n',
  );
  for (const chunk of chunks) socket.write(chunk);
  socket.write('0\r\nTrailer: x\r\n\r\n');
  await eventually(() => text().includes('200 OK'));
  expect(router.begun).toMatchObject([{ payload: Buffer.from('"é"') }]);
});

test.each([
  ['an HTTP/1.0 request', 'POST /v1/push HTTP/1.0\r\n', '200 OK'],
  ['Connection: close', 'POST /v1/push HTTP/1.1\r\nHost: a\r\nConnection: close\r\n', '200 OK'],
])('ends after %s', async (_, start, status) => {
  const { socket, text, closed } = router.open();
  const body = '{"clientId":"a","payload":1}';
  const length = `Content-Length: ${body.length}\r\n\r\n`;
  socket.write(`${start}Content-Type: application/json\r\n${length}${body}${pushText('b')}`);
  await eventually(closed);
  expect(text()).toContain(status);
  expect(text().match(/HTTP\/1\.1/g)).toHaveLength(1);
  expect(router.begun).toHaveLength(1);
});

test.each([
  ['garbage', 'garbage\r\n\r\n', 400],
  ['both lengths', requestText('{}', 'Transfer-Encoding: chunked\r\n'), 400],
  [
    'a chunk without a size',
    requestText('{}').replace('Content-Length: 2', 'Transfer-Encoding: chunked'),
    400,
  ],
  ['a head of 9 KiB', requestText('{}', `A: ${'a'.repeat(9_000)}\r\n`), 431],
  ['a target of 9 KiB', requestText('{}', '', `/${'a'.repeat(9_000)}`), 414],
  ['HTTP/2 without its preface', 'POST / HTTP/2.0\r\n\r\n', 505],
  ['a body over the maximum', requestText('{}').replace('Length: 2', 'Length: 99999999'), 413],
  ['a body that is not for the path', requestText('{}', '', '/v1/nothing'), 404],
])('ends after %s, and the requests before it are answered', async (_, bytes, status) => {
  const { socket, text, closed } = router.open();
  socket.write(pushText('a') + bytes + pushText('b'));
  await eventually(closed);
  expect(text().match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', `HTTP/1.1 ${status}`]);
  expect(text()).toContain('Connection: close');
  expect(router.begun).toHaveLength(1);
});

test('is asked for a body that it announces, unless that is too large', async () => {
  const expecting = 'Expect: 100-continue\r\n';
  const { socket, text } = router.open();
  const body = '{"clientId":"a","payload":1}';
  const [head] = requestText(body, expecting).split('{') as [string];
  socket.write(head);
  await eventually(() => text() === 'HTTP/1.1 100 Continue\r\n\r\n');
  socket.write(body);
  await eventually(() => text().includes('200 OK'));
  const large = router.open();
  large.socket.write(head.replace(/Length: \d+/, 'Length: 99999999'));
  await eventually(large.closed);
  expect(large.text()).toMatch(/^HTTP\/1\.1 413/);
});

test('is not read while the process is short of memory, but for small bodies', async () => {
  router.hasMemory = false;
  const payloadText = 'x'.repeat(200_000);
  const { status, body, headers } = await router.post('/v1/push', { clientId: 'a', payloadText });
  expect([status, body.error.code, headers.get('retry-after')]).toEqual([503, 'OVERLOADED', '1']);
  expect((await router.post('/v1/push', { clientId: 'a', payload: 1 })).status).toBe(200);
});

test('one too many replaces the one that has been idle for the longest time', async () => {
  const all = Array.from({ length: CONNECTIONS_MAX }, () => router.open());
  router.answers = [];
  all[0]!.socket.write(pushText('a'));
  await eventually(() => router.answers!.length === 1);
  await eventually(
    async () => (await router.metric('longline_router_push_http_connections')) === CONNECTIONS_MAX,
  );
  const more = router.open();
  await eventually(() => all[1]!.closed());
  expect(all.filter(({ closed }) => closed())).toHaveLength(1);
  more.socket.write(pushText('b'));
  await eventually(() => router.answers!.length === 2);
  for (const answer of router.answers!) answer();
  await eventually(() => all[0]!.text() !== '' && more.text() !== '');
  const name = 'longline_router_push_http_connections_closed_total';
  expect(await router.metric(name, '{reason="full"}')).toBe(1);
});

test('that the caller ends is counted, and its push completes', async () => {
  router.answers = [];
  const { socket } = router.open();
  socket.write(pushText('a'));
  await eventually(() => router.answers!.length === 1);
  socket.destroy();
  const name = 'longline_router_push_http_requests_total';
  await eventually(
    async () => (await router.metric(name, '{route="/v1/push",code="CANCELLED"}')) === 1,
  );
  router.answers[0]!();
});
test('a stop answers the requests in progress, rejects later ones, and never both', async () => {
  router.answers = [];
  const { socket, text, closed } = router.open();
  const idle = router.open();
  socket.write(pushText('a'));
  await eventually(() => router.answers!.length === 1);
  router.stopping.abort();
  const stopped = router.server.stop(5_000);
  socket.write(pushText('b'));
  await eventually(idle.closed);
  router.answers[0]!();
  await eventually(closed);
  await stopped;
  const statuses = text().match(/HTTP\/1\.1 \d+/g);
  expect(statuses?.[0]).toBe('HTTP/1.1 200');
  expect(statuses?.slice(1)).toEqual(['HTTP/1.1 503']);
  expect(text().match(/Connection: close/g)).toHaveLength(1);
  expect(router.begun).toHaveLength(1);
});
