/**
 * Bounds and flow control of HTTP/2 connections, with the HTTP/2 client of Node.js where it can do
 * what is tested, and with raw frames where it cannot.
 */
import { once } from 'node:events';
import { type ClientHttp2Session, connect, createServer as createHttp2Server } from 'node:http2';
import { createServer, type Socket, connect as tcpConnect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Http2Connection } from '../../../../common/process/http2/connection.js';
import { FrameReader } from '../../../../common/process/http2/frame-reader.js';
import { encodeFields } from '../../../../common/process/http2/hpack-encoder.js';
import type { Field } from '../../../../common/process/http2/hpack-table.js';
import {
  ERROR,
  FLAG,
  FRAME,
  frameOf,
  PREFACE,
  SETTING,
  settingsPayload,
  uint32Payload,
} from '../../../../common/process/http2/protocol.js';
import type { RequestStream } from '../../../../common/process/http2/request-stream.js';
import { eventually } from '../../../support/eventually.js';

const STREAMS_MAX = 100;
const HEAD = encodeFields([{ name: ':status', value: '200' }]);
const TRAILERS = encodeFields([{ name: 'grpc-status', value: '0' }]);

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

interface Echo {
  readonly port: number;
  readonly connections: Http2Connection[];
  /** Those of requests that were answered here, not by the library. */
  readonly requests: (readonly Field[])[];
  /** Requests to `/hold` are open until they are closed. */
  readonly held: Set<RequestStream>;
  readonly errors: number[];
}

/**
 * Answers with the body of the request; the library, which is `node:http2`, does so for `/library`.
 */
async function startEcho(): Promise<Echo> {
  const library = createHttp2Server({ maxSessionMemory: 1_000 });
  library.on('stream', (stream) => {
    stream.on('error', () => {});
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  });
  const echo: Omit<Echo, 'port'> = { connections: [], requests: [], held: new Set(), errors: [] };
  const onRequest = (stream: RequestStream, fields: readonly Field[]) => {
    const path = fields.find(({ name }) => name === ':path')?.value;
    if (path === '/library') return false;
    echo.requests.push(fields);
    const parts: Buffer[] = [];
    if (path === '/hold') echo.held.add(stream);
    stream.listener = {
      onData: (bytes) => parts.push(bytes),
      onEnd: () => {
        if (path !== '/hold') stream.respond(HEAD, Buffer.concat(parts), TRAILERS);
      },
      onClose: () => echo.held.delete(stream),
    };
    return true;
  };
  const server = createServer((socket) => {
    const connection = new Http2Connection(socket, {
      onRequest,
      onLibraryConnection: (end) => library.emit('connection', end),
      streamsMax: STREAMS_MAX,
    });
    connection.onError = ({ code }) => echo.errors.push(code);
    echo.connections.push(connection);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    for (const connection of echo.connections) connection.destroy();
    server.close();
  });
  return { ...echo, port: (server.address() as { port: number }).port };
}

function session(port: number, options = {}): ClientHttp2Session {
  const client = connect(`http://127.0.0.1:${port}`, { maxSessionMemory: 1_000, ...options });
  client.on('error', () => {});
  closing.push(() => client.destroy());
  return client;
}

/** Resolves with the answer's body. */
async function post(client: ClientHttp2Session, path: string, body: Buffer): Promise<Buffer> {
  const stream = client.request({ ':method': 'POST', ':path': path });
  const parts: Buffer[] = [];
  stream.on('data', (bytes) => parts.push(bytes));
  stream.end(body);
  await once(stream, 'end');
  return Buffer.concat(parts);
}

/** A client that writes frames as it likes, and notes what it receives. */
class RawClient {
  readonly frames: { type: number; flags: number; streamId: number; payload: Buffer }[] = [];
  readonly socket: Socket;
  /** Bytes of DATA by stream, and of the connection. */
  readonly #sent = new Map<number, number>();
  isClosed = false;

  constructor(port: number) {
    this.socket = tcpConnect(port, '127.0.0.1');
    const reader = new FrameReader((type, flags, streamId, bytes, start, end) => {
      this.frames.push({ type, flags, streamId, payload: Buffer.from(bytes.subarray(start, end)) });
    });
    this.socket.on('data', (bytes) => reader.read(bytes));
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.isClosed = true;
    });
    closing.push(() => this.socket.destroy());
    this.socket.write(Buffer.concat([PREFACE, frameOf(FRAME.settings, 0, 0)]));
  }

  send(type: number, flags: number, streamId: number, payload?: Uint8Array): void {
    this.socket.write(frameOf(type, flags, streamId, payload));
  }

  request(streamId: number, path: string, flags = FLAG.endHeaders | FLAG.endStream): void {
    this.send(FRAME.headers, flags, streamId, blockOf(path));
  }

  /** Sends DATA when the windows allow it. */
  async sendData(flags: number, streamId: number, payload: Uint8Array): Promise<void> {
    for (const id of [0, streamId]) {
      await eventually(() => this.#windowOf(id) >= payload.length);
      this.#sent.set(id, (this.#sent.get(id) ?? 0) + payload.length);
    }
    this.send(FRAME.data, flags, streamId, payload);
  }

  #windowOf(id: number): number {
    const updates = this.frames.filter((f) => f.type === FRAME.windowUpdate && f.streamId === id);
    const granted = updates.reduce((sum, { payload }) => sum + payload.readUInt32BE(), 65_535);
    return granted - (this.#sent.get(id) ?? 0);
  }

  codes(type: number): number[] {
    const at = type === FRAME.goaway ? 4 : 0;
    return this.frames
      .filter((frame) => frame.type === type)
      .map(({ payload }) => payload.readUInt32BE(at));
  }

  bytesOf(streamId: number): number {
    return this.frames
      .filter((frame) => frame.type === FRAME.data && frame.streamId === streamId)
      .reduce((sum, { payload }) => sum + payload.length, 0);
  }
}

function blockOf(path: string, more: { name: string; value: string }[] = []): Buffer {
  const head = { ':method': 'POST', ':scheme': 'http', ':path': path, ':authority': 'x' };
  return encodeFields([...Object.entries(head).map(([name, value]) => ({ name, value })), ...more]);
}

async function startRaw(): Promise<{ echo: Echo; client: RawClient }> {
  const echo = await startEcho();
  return { echo, client: new RawClient(echo.port) };
}

const goesAway = (client: RawClient, code: number) =>
  eventually(() => {
    expect(client.codes(FRAME.goaway)).toEqual([code]);
    expect(client.isClosed).toBe(true);
  });

test('fields arrive as a client of Node.js sent them, and as their encoder saw fit', async () => {
  const echo = await startEcho();
  const client = session(echo.port);
  const name = fc.stringMatching(/^x-[a-z0-9]{1,10}$/);
  const value = fc.stringMatching(/^[!-~]{1,100}$/);
  await fc.assert(
    fc.asyncProperty(fc.dictionary(name, value, { maxKeys: 20 }), async (headers) => {
      const stream = client.request({ ':path': '/', ...headers });
      stream.resume();
      await once(stream, 'end');
      const own = echo.requests.at(-1)!.filter((field) => field.name.startsWith('x-'));
      expect(Object.fromEntries(own.map((field) => [field.name, field.value]))).toEqual(headers);
      expect(own.every(({ isValid }) => isValid)).toBe(true);
    }),
  );
});

const LARGE = Buffer.alloc(4 * 1024 * 1024, 'large');

test.each(['/', '/library'])('4 MB go to %s and back, many at a time', async (path) => {
  const { port } = await startEcho();
  const client = session(port);
  const answers = await Promise.all(Array.from({ length: 5 }, () => post(client, path, LARGE)));
  for (const answer of answers) expect(answer.equals(LARGE)).toBe(true);
});

test('small and large answers of both sides share the window of a connection', async () => {
  const { port } = await startEcho();
  const client = session(port, { settings: { initialWindowSize: 1_000 } });
  const sizes = [1, 999, 1_000, 1_001, 70_000, 200_000];
  const bodies = sizes.map((size) => Buffer.alloc(size, `${size} `));
  const answers = await Promise.all(
    bodies.flatMap((body) => [post(client, '/', body), post(client, '/library', body)]),
  );
  answers.forEach((answer, i) => {
    expect(answer.equals(bodies[i >> 1]!)).toBe(true);
  });
});

test('a stream without a window does not hold up others, and goes on when it opens', async () => {
  const { client } = await startRaw();
  client.send(FRAME.settings, 0, 0, settingsPayload([[SETTING.initialWindowSize, 3]]));
  for (const [streamId, path] of [
    [1, '/'],
    [3, '/library'],
    [5, '/'],
  ] as const) {
    client.request(streamId, path, FLAG.endHeaders);
    client.send(FRAME.data, FLAG.endStream, streamId, Buffer.from('hello'));
  }
  await eventually(() => {
    expect([1, 3, 5].map((id) => client.bytesOf(id))).toEqual([3, 3, 3]);
  });
  client.send(FRAME.windowUpdate, 0, 3, uint32Payload(2));
  client.send(FRAME.windowUpdate, 0, 5, uint32Payload(1));
  await eventually(() => {
    expect([1, 3, 5].map((id) => client.bytesOf(id))).toEqual([3, 5, 4]);
  });
  client.send(FRAME.settings, 0, 0, settingsPayload([[SETTING.initialWindowSize, 10]]));
  await eventually(() => {
    expect([1, 3, 5].map((id) => client.bytesOf(id))).toEqual([5, 5, 5]);
  });
});

test('the window of a connection is kept to, and divided', async () => {
  const { client } = await startRaw();
  client.send(FRAME.settings, 0, 0, settingsPayload([[SETTING.initialWindowSize, 1_000_000]]));
  const body = Buffer.alloc(16_000);
  const ids = [1, 3, 5, 7];
  for (const id of ids) client.request(id, id % 4 === 1 ? '/' : '/library', FLAG.endHeaders);
  for (let i = 0; i < 4; i++) {
    for (const id of ids) await client.sendData(i === 3 ? FLAG.endStream : 0, id, body);
  }
  const total = () => ids.reduce((sum, id) => sum + client.bytesOf(id), 0);
  await eventually(() => total() === 65_535);
  for (let sum = 65_535; sum < 4 * 64_000; sum += 10_000) {
    client.send(FRAME.windowUpdate, 0, 0, uint32Payload(10_000));
    await eventually(() => total() === Math.min(sum + 10_000, 4 * 64_000));
  }
  expect(ids.map((id) => client.bytesOf(id))).toEqual(ids.map(() => 64_000));
});

test('a client that does not read is not read from, and goes on when it reads', async () => {
  const { echo, client } = await startRaw();
  await eventually(() => client.frames.length > 0);
  client.send(FRAME.settings, 0, 0, settingsPayload([[SETTING.initialWindowSize, 2 ** 30]]));
  client.send(FRAME.windowUpdate, 0, 0, uint32Payload(2 ** 30));
  client.socket.pause();
  const [connection] = echo.connections;
  let streamId = 1;
  // Each asks for as much as it sends, so nothing but the server's bound stops it.
  while (!connection!.isFull && streamId < 20_000) {
    client.request(streamId, '/', FLAG.endHeaders);
    client.send(FRAME.data, FLAG.endStream, streamId, Buffer.alloc(16_384));
    streamId += 2;
    await new Promise(setImmediate);
  }
  expect(connection!.isFull).toBe(true);
  const answered = echo.requests.length;
  for (let i = 0; i < 100; i++) client.send(FRAME.ping, 0, 0, Buffer.alloc(8));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(echo.requests.length).toBe(answered);
  client.socket.resume();
  await eventually(() => client.frames.filter(({ type }) => type === FRAME.ping).length === 100);
  expect(connection!.isFull).toBe(false);
});

test('a client that reads late has all answers of a connection that has ended', async () => {
  const { echo, client } = await startRaw();
  await eventually(() => client.frames.length > 0);
  client.send(FRAME.settings, 0, 0, settingsPayload([[SETTING.initialWindowSize, 2 ** 30]]));
  client.send(FRAME.windowUpdate, 0, 0, uint32Payload(2 ** 30));
  client.socket.pause();
  const [connection] = echo.connections;
  let streamId = -1;
  while (!connection!.isFull) {
    streamId += 2;
    client.request(streamId, '/', FLAG.endHeaders);
    client.send(FRAME.data, FLAG.endStream, streamId, Buffer.alloc(16_384));
    await new Promise(setImmediate);
  }
  const answered = echo.requests.length;
  connection!.close();
  // Longer than a client that has read everything may take to close its side.
  await sleep(1_200);
  client.socket.resume();
  await eventually(() => client.isClosed);
  const ends = client.frames.filter(
    ({ type, flags }) => type === FRAME.headers && flags & FLAG.endStream,
  );
  expect(ends.length).toBeGreaterThanOrEqual(answered);
});

test('streams over the bound are rejected, and others go on', async () => {
  const { echo, client } = await startRaw();
  for (let i = 0; i < STREAMS_MAX + 2; i++) client.request(2 * i + 1, '/hold');
  await eventually(() => {
    expect(client.codes(FRAME.rstStream)).toEqual([ERROR.refusedStream, ERROR.refusedStream]);
  });
  expect(echo.held.size).toBe(STREAMS_MAX);
  client.send(FRAME.rstStream, 0, 1, uint32Payload(ERROR.cancel));
  client.request(1_001, '/');
  await eventually(() => client.frames.some(({ streamId }) => streamId === 1_001));
});

test.each<[string, (client: RawClient) => void]>([
  [
    'requests that are cancelled at once',
    (client) => {
      for (let id = 1; id < 5_000; id += 2) {
        client.request(id, '/hold');
        client.send(FRAME.rstStream, 0, id, uint32Payload(ERROR.cancel));
      }
    },
  ],
  [
    'requests to the library that are cancelled at once',
    (client) => {
      for (let id = 1; id < 5_000; id += 2) {
        client.request(id, '/library');
        client.send(FRAME.rstStream, 0, id, uint32Payload(ERROR.cancel));
      }
    },
  ],
  [
    'settings',
    (client) => {
      for (let i = 0; i < 2_000; i++) client.send(FRAME.settings, 0, 0);
    },
  ],
  [
    'empty DATA frames',
    (client) => {
      client.request(1, '/', FLAG.endHeaders);
      for (let i = 0; i < 2_000; i++) client.send(FRAME.data, 0, 1);
    },
  ],
  [
    'frames of unknown types',
    (client) => {
      for (let i = 0; i < 2_000; i++) client.send(0xbe, 0, 1);
    },
  ],
  [
    'CONTINUATION without an end',
    (client) => {
      client.request(1, '/', 0);
      for (let i = 0; i < 10; i++) client.send(FRAME.continuation, 0, 1, Buffer.alloc(1));
    },
  ],
  [
    'a header block that is too large',
    (client) => {
      client.request(1, '/', 0);
      for (let i = 0; i < 5; i++) client.send(FRAME.continuation, 0, 1, Buffer.alloc(16_384));
    },
  ],
])('a flood of %s ends the connection', async (_name, flood) => {
  const { echo, client } = await startRaw();
  flood(client);
  await goesAway(client, ERROR.enhanceYourCalm);
  expect(echo.errors).toEqual([ERROR.enhanceYourCalm]);
  expect(echo.held.size).toBe(0);
});

test('headers that unfold beyond the maximum end their stream, not the connection', async () => {
  const { client } = await startRaw();
  const literal = Buffer.concat([Buffer.of(0x40, 1, 0x61, 0x7f, 0xf0, 0x1d), Buffer.alloc(3_951)]);
  client.send(
    FRAME.headers,
    FLAG.endHeaders | FLAG.endStream,
    1,
    Buffer.concat([blockOf('/'), literal]),
  );
  const bomb = Buffer.concat([blockOf('/'), Buffer.alloc(16_000, 0xbe)]);
  client.send(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 3, bomb);
  client.request(5, '/');
  await eventually(() => {
    expect(client.codes(FRAME.rstStream)).toEqual([ERROR.enhanceYourCalm]);
    expect(client.frames.filter(({ streamId }) => streamId === 5).length).toBeGreaterThan(0);
  });
});

test.each<[string, number, (client: RawClient) => void]>([
  [
    'a window over the maximum',
    ERROR.flowControl,
    (client) => client.send(FRAME.windowUpdate, 0, 0, uint32Payload(0x7fff_ffff)),
  ],
  [
    'a frame over the maximum',
    ERROR.frameSize,
    (client) => client.send(FRAME.data, 0, 1, Buffer.alloc(16_385)),
  ],
  [
    'an invalid header block',
    ERROR.compression,
    (client) => client.send(FRAME.headers, FLAG.endHeaders, 1, Buffer.of(0x80)),
  ],
  [
    'more padding than data',
    ERROR.protocol,
    (client) => {
      client.request(1, '/', FLAG.endHeaders);
      client.send(FRAME.data, FLAG.padded, 1, Buffer.of(9, 1));
    },
  ],
])('%s is an error of the connection', async (_name, code, send) => {
  const { echo, client } = await startRaw();
  send(client);
  await goesAway(client, code);
  expect(echo.errors).toEqual([code]);
});

test('what is no HTTP/2 is disconnected', async () => {
  const { port } = await startEcho();
  const socket = tcpConnect(port, '127.0.0.1');
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  socket.resume();
  await once(socket, 'close');
});

test('after GOAWAY, open requests are answered, later ones are ignored, and the connection ends', async () => {
  const { echo, client } = await startRaw();
  client.request(1, '/', FLAG.endHeaders);
  client.request(3, '/library', FLAG.endHeaders);
  await eventually(() => echo.requests.length === 1);
  echo.connections[0]!.close();
  client.request(5, '/');
  await eventually(() => expect(client.codes(FRAME.goaway)).toEqual([ERROR.none]));
  expect(client.frames.find(({ type }) => type === FRAME.goaway)!.payload.readUInt32BE()).toBe(3);
  client.send(FRAME.data, FLAG.endStream, 5);
  client.send(FRAME.data, FLAG.endStream, 1, Buffer.from('one'));
  client.send(FRAME.data, FLAG.endStream, 3, Buffer.from('three'));
  await eventually(() => client.isClosed);
  expect([1, 3, 5].map((id) => client.bytesOf(id))).toEqual([3, 5, 0]);
  expect(echo.errors).toEqual([]);
});

test('padding counts for windows, and is dropped', async () => {
  const { client } = await startRaw();
  const padded = Buffer.concat([Buffer.of(200), Buffer.from('hello'), Buffer.alloc(200)]);
  for (const [id, path] of [
    [1, '/'],
    [3, '/library'],
  ] as const) {
    client.request(id, path, FLAG.endHeaders);
    // Far more than a window.
    for (let i = 0; i < 1_000; i++) await client.sendData(FLAG.padded, id, padded);
    client.send(FRAME.data, FLAG.endStream, id);
    await eventually(() => expect(client.bytesOf(id)).toBe(5_000));
  }
});
