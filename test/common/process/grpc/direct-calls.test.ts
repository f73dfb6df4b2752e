/** Callers see the same whether the library answers a call or `DirectCalls` does. */
import { once } from 'node:events';
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2';
import { gzipSync } from 'node:zlib';
import {
  Client,
  credentials,
  type handleUnaryCall,
  Metadata,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { rejection } from '../../../../common/process/errors.js';
import { addCodes, toServiceError } from '../../../../common/process/grpc/calls.js';
import { DirectCalls } from '../../../../common/process/grpc/direct-calls.js';
import { http2ServersOf } from '../../../../common/process/grpc/grpc-server.js';
import { eventually } from '../../../support/eventually.js';

const BYTES_MAX = 1_000_000;
/** Much longer than the deadline of the call that is answered so late. */
const LATER_MS = 2_000;
const PATH = '/longline.v1.Echo/Echo';

const echoMethod: MethodDefinition<Buffer, Buffer> = {
  path: PATH,
  requestStream: false,
  responseStream: false,
  requestSerialize: (message) => message,
  requestDeserialize: (bytes) => {
    if (bytes.includes('undecodable')) throw new Error('undecodable');
    return bytes;
  },
  responseSerialize: (message) => message,
  responseDeserialize: (bytes) => bytes,
};

interface Echo {
  readonly port: number;
  /** Calls in progress, by the count of `onCall`. */
  readonly inProgress: () => number;
  readonly cancelled: () => number;
  /** HTTP/2 connections that the library has had, those within the process included. */
  readonly librarySessions: () => number;
  readonly stop: () => void;
}

/** Returns what it receives; some messages are commands. */
/** Has room for every message. */
const ROOM = { reserve: () => true, release: () => {} };

async function startEcho(isDirect: boolean): Promise<Echo> {
  let inProgress = 0;
  let cancelled = 0;
  const echo: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    const text = call.request.subarray(0, 100).toString();
    if (text === 'fail')
      return callback(toServiceError(rejection('RATE_LIMITED', 'über 5 % — zu viel')));
    if (text === 'throw') throw new Error('thrown');
    if (text === 'deadline')
      return callback(null, Buffer.from(`${Number(call.getDeadline()) - Date.now() > 0}`));
    if (text === 'metadata') return callback(null, Buffer.from(call.metadata.get('x-a').join('|')));
    if (text !== 'later') return callback(null, call.request);
    setTimeout(() => {
      if (call.cancelled) cancelled++;
      callback(null, call.request);
    }, LATER_MS);
  };
  const server = new Server({
    'grpc.max_receive_message_length': BYTES_MAX,
    interceptors: [addCodes],
  });
  server.addService({ echo: echoMethod }, { echo });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const onCall = () => {
    inProgress++;
    return () => inProgress--;
  };
  let librarySessions = 0;
  for (const http2Server of http2ServersOf(server)) {
    http2Server.on('session', () => librarySessions++);
  }
  if (isDirect) {
    const direct = new DirectCalls({
      requestBytesMax: BYTES_MAX,
      callsPerConnectionMax: 1_000,
      onCall,
      awaited: { add: () => {}, delete: () => {} },
      onConnection: () => {},
      memory: ROOM,
    });
    direct.add(echoMethod, echo);
    direct.attach(server);
  }
  return {
    port,
    inProgress: () => inProgress,
    cancelled: () => cancelled,
    librarySessions: () => librarySessions,
    stop: () => server.forceShutdown(),
  };
}

const servers = new Map<string, Echo>();
const sessions = new Map<string, ClientHttp2Session>();

/** Servers that stop end their connections with an error. */
function open(port: number): ClientHttp2Session {
  return connect(`http://127.0.0.1:${port}`).on('error', () => {});
}

beforeAll(async () => {
  for (const [name, isDirect] of [
    ['library', false],
    ['direct', true],
  ] as const) {
    const server = await startEcho(isDirect);
    servers.set(name, server);
    sessions.set(name, open(server.port));
  }
});

afterAll(() => {
  for (const session of sessions.values()) session.destroy();
  for (const server of servers.values()) server.stop();
});

interface Answer {
  readonly http: number;
  readonly status: string | undefined;
  readonly code: string | undefined;
  readonly body: string;
}

const HEADERS = {
  ':method': 'POST',
  ':path': PATH,
  'content-type': 'application/grpc',
  te: 'trailers',
};

/** One request over HTTP/2, its body in the given parts. */
async function request(
  server: string,
  parts: readonly Buffer[],
  headers: Record<string, string> = {},
): Promise<Answer> {
  const stream = sessions.get(server)!.request({ ...HEADERS, ...headers });
  let head: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  const body: Buffer[] = [];
  stream.on('response', (received) => {
    head = received;
  });
  stream.on('trailers', (received) => {
    trailers = received;
  });
  stream.on('data', (bytes) => body.push(bytes));
  const closed = new Promise((resolve) => stream.on('close', resolve));
  stream.on('error', () => {});
  for (const part of parts) {
    if (!stream.writable) break;
    await new Promise((resolve) => stream.write(part, resolve));
    if (parts.length > 1) await new Promise(setImmediate);
  }
  stream.end();
  await closed;
  const all = { ...head, ...trailers };
  return {
    http: Number(head[':status']),
    status: all['grpc-status'] as string | undefined,
    code: all['longline-code'] as string | undefined,
    body: Buffer.concat(body).toString('latin1'),
  };
}

function framed(message: string | Buffer, flag = 0): Buffer {
  const bytes = Buffer.from(message);
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

const hello = framed('hello');
const each = (bytes: Buffer) => Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));

test.each<[string, Buffer[], Record<string, string>?]>([
  ['one message', [hello]],
  ['an empty message', [framed('')]],
  ['a message byte by byte', each(hello)],
  ['a message of a megabyte', [framed(Buffer.alloc(BYTES_MAX, 'x'))]],
  ['a message over the bound', [framed(Buffer.alloc(BYTES_MAX + 1, 'x'))]],
  ['a length over the bound, and nothing else', [framed('').fill(0xff, 1)]],
  ['two messages', [hello, hello]],
  ['no message', []],
  ['a part of the prefix', [hello.subarray(0, 3)]],
  ['a part of a message', [hello.subarray(0, 8)]],
  ['a message that cannot be decoded', [framed('undecodable')]],
  ['a failure', [framed('fail')]],
  ['an exception', [framed('throw')]],
  ['metadata', [framed('metadata')], { 'x-a': '1' }],
  ['a timeout', [framed('deadline')], { 'grpc-timeout': '5S' }],
  ['no timeout', [framed('deadline')]],
  ['a timeout that is none', [hello], { 'grpc-timeout': 'soon' }],
  ['a compressed message', [framed(gzipSync('hello'), 1)], { 'grpc-encoding': 'gzip' }],
  ['an unknown compression', [framed('hello', 1)], { 'grpc-encoding': 'br' }],
  ['identity', [hello], { 'grpc-encoding': 'identity' }],
  ['another content type', [hello], { 'content-type': 'text/plain' }],
  ['gRPC with JSON', [hello], { 'content-type': 'application/grpc+json' }],
  ['gRPC-Web', [hello], { 'content-type': 'application/grpc-web' }],
  ['an unknown method', [hello], { ':path': '/longline.v1.Echo/Other' }],
  ['an unknown path', [hello], { ':path': '/' }],
])('%s', async (_name, parts, headers = {}) => {
  const answer = await request('direct', parts, headers);
  expect(answer).toEqual(await request('library', parts, headers));
  expect(answer.http).toBeGreaterThan(0);
});

test.each([
  ['the library has', '/longline.v1.Echo/Other', 1],
  ['is direct has', PATH, 0],
])(
  'a connection whose first call %s its calls, and answers all others, too',
  async (_, first, opened) => {
    const { port, librarySessions } = servers.get('direct')!;
    const before = librarySessions();
    const client = open(port);
    sessions.set('first', client);
    // The client answers the settings of the server before its first request.
    await once(client, 'remoteSettings');
    await request('first', [hello], { ':path': first });
    expect(librarySessions() - before).toBe(opened);
    expect((await request('first', [hello])).body).toBe(hello.toString('latin1'));
    expect((await request('first', [hello], { ':path': '/longline.v1.Echo/Other' })).status).toBe(
      '12',
    );
    expect(librarySessions() - before).toBe(1);
  },
);

describe('a client of the library', () => {
  let client: Client;
  beforeAll(() => {
    client = new Client(`127.0.0.1:${servers.get('direct')!.port}`, credentials.createInsecure());
  });
  afterAll(() => client.close());

  const call = (text: string, options = {}) =>
    new Promise<Buffer | ServiceError>((resolve) => {
      client.makeUnaryRequest(
        PATH,
        (message: string) => Buffer.from(message),
        (bytes) => bytes,
        text,
        new Metadata(),
        options,
        (error, value) => resolve(error ?? value!),
      );
    });

  test('reads text and code of a failure', async () => {
    const error = (await call('fail')) as ServiceError;
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(error.details).toBe('RATE_LIMITED: über 5 % — zu viel');
    expect(error.metadata.get('longline-code')).toEqual(['RATE_LIMITED']);
  });

  test('a thousand calls at a time each have their own answer', async () => {
    const texts = Array.from({ length: 1_000 }, (_, i) => `call ${i}`);
    const answers = await Promise.all(texts.map((text) => call(text)));
    expect(answers.map(String)).toEqual(texts);
  });

  test('a cancelled call is known to be cancelled, and ends', async () => {
    const error = (await call('later', { deadline: Date.now() + 50 })) as ServiceError;
    expect(error.code).toBe(status.DEADLINE_EXCEEDED);
    const server = servers.get('direct')!;
    await eventually(() => {
      expect(server.cancelled()).toBe(1);
      expect(server.inProgress()).toBe(0);
    });
  });
});
