/**
 * Goal: the device port parses HTTP/1.1 strictly according to RFC 9112, and accepts no request that
 * another parser could read as two. Method: sends bytes to a real edge, one case per clause. No
 * suite is available in a registry; the cases cover h1spec (https://github.com/uNetworking/h1spec)
 * and more.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { RunningCluster } from '../support/cluster/running-cluster.js';
import { RawSocket } from '../support/devices/raw-socket.js';
import { eventually } from '../support/eventually.js';

let running: RunningCluster;
let port: number;

beforeAll(async () => {
  running = await RunningCluster.start({ edges: 1 });
  port = Number(new URL(running.cluster.edgeUrl('edge-1')).port);
});

afterAll(() => running?.stop());

const TARGET = '/connect?clientId=h1';
const REQUEST = `GET ${TARGET} HTTP/1.1\r\nHost: edge\r\n\r\n`;
const NOWHERE = REQUEST.replace('/connect', '/nowhere');
const get = (...lines: string[]) =>
  `GET ${TARGET} HTTP/1.1\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;

/** Status of the response to these bytes. A rejected connection must also be closed. */
async function statusOf(bytes: string): Promise<number> {
  const socket = await RawSocket.connect(port);
  try {
    await socket.send(Buffer.from(bytes, 'latin1'));
    await eventually(() => socket.status !== undefined);
    if (socket.status !== 200) await socket.untilEnded();
    return socket.status!;
  } finally {
    socket.close();
  }
}

describe('is served', () => {
  test.each([
    ['§3 a request', REQUEST],
    ['§2.2 an empty line before a request', `\r\n${REQUEST}`],
    ['§3.2.2 the absolute form', REQUEST.replace('/connect', 'http://edge/connect')],
    ['§5 names in any case, a tab before a value', get('hOsT:\tedge')],
    ['§5 an empty value, with and without blanks', get('Host: edge', 'X-A:', 'X-B:   ')],
    ['RFC 9110 §5.5 obs-text in a value', get('Host: edge', 'X: \xe9')],
    [
      'RFC 9110 §7.8 an Upgrade to an unknown protocol',
      get('Host: edge', 'Upgrade: h2c', 'Connection: Upgrade'),
    ],
    ['RFC 9110 §10.1.1 an expectation without a body', get('Host: edge', 'Expect: 100-continue')],
    ['§6.3 a length of zero', get('Host: edge', 'Content-Length: 0')],
    ['HTTP/1.0 without Host', `GET ${TARGET} HTTP/1.0\r\n\r\n`],
  ])('%s', async (_clause, bytes) => {
    expect(await statusOf(bytes)).toBe(200);
  });
});

describe('is rejected', () => {
  test.each([
    ['§3 no version', `GET ${TARGET} \r\n\r\n`, 400],
    ['§2.3 an unsupported version', REQUEST.replace('1.1', '9.9'), 505],
    ['§3 bytes before the method', `Extra line${REQUEST}`, 400],
    ['§3.1 a method that is no token', REQUEST.replace('GET', 'G[T'), 400],
    ['§3.1 a method in lower case', REQUEST.replace('GET', 'get'), 400],
    ['§3.2 no Host', get('Accept: */*'), 400],
    ['§3.2 two Hosts', get('Host: edge', 'Host: other'), 400],
    ['§3.2.3 the authority form', `CONNECT edge:443 HTTP/1.1\r\nHost: edge:443\r\n\r\n`, 404],
    ['§3.2.4 the asterisk form', `OPTIONS * HTTP/1.1\r\nHost: edge\r\n\r\n`, 404],
    ['§3.2 an invalid Host', get('Host: bad host'), 400],
    ['§3.2 a fragment in the target', REQUEST.replace('h1', 'h1#x'), 400],
    ['§3 a target of 9,000 bytes', REQUEST.replace('h1', 'x'.repeat(9_000)), 414],
    ['§5 brackets in a name', get('Host: edge', 'X-Invalid[]: test'), 400],
    ['§5.1 a blank before the colon', get('Host : edge'), 400],
    ['§5.2 a folded line', get('Host: edge', 'X: a', ' b'), 400],
    ['RFC 9110 §5.5 BEL in a value', get('Host: edge', 'X: a\x07'), 400],
    ['RFC 9110 §5.5 NUL in a value', get('Host: edge', 'X: a\0'), 400],
    ['§2.2 a bare CR at the end', `GET ${TARGET} HTTP/1.1\r\nHost: edge\r\n\rX: a\r\n\r\n`, 400],
    ['§2.2 bare LFs', `GET ${TARGET} HTTP/1.1\nHost: edge\n\n`, 400],
    ['§6.2 a negative length', get('Host: edge', 'Content-Length: -1234'), 400],
    [
      '§6.2 a length that overflows',
      get('Host: edge', `Content-Length: -${'1234'.repeat(7)}`),
      400,
    ],
    ['§6.2 a length that is no number', get('Host: edge', 'Content-Length: abc'), 400],
    ['§6.2 a length in hex', get('Host: edge', 'Content-Length: 0x0'), 400],
    ['§6.2 a list of lengths', get('Host: edge', 'Content-Length: 0, 0'), 400],
    ['§6.3 two lengths', get('Host: edge', 'Content-Length: 0', 'Content-Length: 0'), 400],
    [
      '§6.3 chunked and a length',
      get('Host: edge', 'Transfer-Encoding: chunked', 'Content-Length: 5'),
      400,
    ],
    [
      '§6.1 chunked in HTTP/1.0',
      `GET ${TARGET} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n`,
      400,
    ],
    [
      '§6.1 a coding that is nearly chunked',
      get('Host: edge', 'Transfer-Encoding: \x0bchunked'),
      400,
    ],
    ['§6.3 a body', `${get('Host: edge', 'Content-Length: 5')}hello`, 400],
    ['§9.3.2 a pipelined request', `${REQUEST}${REQUEST}`, 400],
    ['RFC 9110 §9.3.2 HEAD', REQUEST.replace('GET', 'HEAD'), 405],
    ['RFC 9110 §9.3.8 TRACE', REQUEST.replace('GET', 'TRACE'), 405],
    ['RFC 9110 §9.3.3 POST', REQUEST.replace('GET', 'POST'), 405],
    [
      'RFC 9110 §9.3.3 POST with a body',
      `${get('Host: edge', 'Content-Length: 5').replace('GET', 'POST')}hello`,
      405,
    ],
    [
      'RFC 9110 §9.3.3 POST with chunks',
      `${get('Host: edge', 'Transfer-Encoding: chunked').replace('GET', 'POST')}0\r\n\r\n`,
      405,
    ],
    ['§9.3.2 a pipelined request to an unknown path', `${NOWHERE}${NOWHERE}`, 404],
  ])('%s', async (_clause, bytes, status) => {
    expect(await statusOf(bytes)).toBe(status);
  });
});

test('RFC 9110 §9.3.2 HEAD receives the head of a response without a body', async () => {
  for (const target of [TARGET, '/nowhere']) {
    const socket = await RawSocket.connect(port);
    await socket.send(`HEAD ${target} HTTP/1.1\r\nHost: edge\r\n\r\n`);
    await socket.untilEnded();
    expect(socket.status).toBeGreaterThanOrEqual(404);
    expect(socket.text.endsWith('\r\n\r\n')).toBe(true);
  }
});

test('§3 an incomplete request gets no response until its last byte', async () => {
  const sockets: RawSocket[] = [];
  for (let length = 1; length < REQUEST.length; length++) {
    const socket = await RawSocket.connect(port);
    await socket.send(REQUEST.slice(0, length));
    sockets.push(socket);
  }
  // The response to a later request shows that the edge has read the incomplete ones.
  expect(await statusOf(REQUEST)).toBe(200);
  expect(sockets.filter(({ text, isEnded }) => text !== '' || isEnded)).toEqual([]);
  for (const [i, socket] of sockets.entries()) {
    await socket.send(REQUEST.slice(i + 1));
    await eventually(() => socket.status === 200);
    socket.close();
  }
});
