/**
 * PushStream does not end for what one message has: every item is answered, and so is a message
 * that cannot be read. One stream holds a bounded number of bytes. Method: the real service on a
 * real gRPC server, bytes that the test composes, and a pusher that answers when the test says so.
 */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import {
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Rejection } from '../../../common/process/errors.js';
import { GrpcConnections } from '../../../common/process/grpc/connections.js';
import {
  bindGrpc,
  createGrpcServer,
  type GrpcServer,
} from '../../../common/process/grpc/grpc-server.js';
import { createLogger } from '../../../common/process/log.js';
import { Metrics } from '../../../common/process/metrics.js';
import {
  PushRequest,
  type PushResponse,
  PushStreamItem,
  PushStreamRequest,
  PushStreamResponse,
  type PushStreamResult,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';
import { Backends } from '../../../router/push/backends.js';
import type { Memberships } from '../../../router/push/groups/memberships.js';
import {
  createPushService,
  pushServiceDefinition,
} from '../../../router/push/grpc/push-service.js';
import { streamIntake } from '../../../router/push/grpc/stream-intake.js';
import type { ShardGroups } from '../../../router/push/many/shard-groups.js';
import { PushApi } from '../../../router/push/operations.js';
import type { Pusher } from '../../../router/push/pusher.js';
import type { Users } from '../../../router/push/users.js';
import { eventually } from '../../support/eventually.js';

const MESSAGE_BYTES_MAX = 100_000;
/** Maximum age of connections that have one. */
const AGE_MS = 300;
const SERVICE = 'longline.v1.PushService';
const written: PushResponse = {
  verdict: Verdict.VERDICT_WRITTEN,
  messageId: '1-0',
  acceptLevel: 1,
  replacedId: '',
  flightRecord: undefined,
};

let grpc: GrpcServer;
let address: string;
let client: Client;
let stopping: AbortController;
let connections: GrpcConnections;
/** The pushes that the service has begun. */
let begun: PushRequest[];
/** Answers of pushes that wait; undefined: pushes are answered at once. */
let answers: (() => void)[] | undefined;

beforeEach(async () => {
  begun = [];
  answers = undefined;
  stopping = new AbortController();
  const pusher = {
    push: (request: PushRequest) => {
      begun.push(request);
      return new Promise<PushResponse>((resolve) => {
        if (answers === undefined) resolve(written);
        else answers.push(() => resolve(written));
      });
    },
    rejected: (rejected: Rejection) => rejected,
  } as unknown as Pusher;
  const config = { tokens: [], tokensFile: undefined, certificates: [] };
  const backends = new Backends(config, undefined, new Metrics());
  const log = createLogger('router', 'test', 'error');
  grpc = createGrpcServer([SERVICE], {
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    interceptors: [streamIntake(MESSAGE_BYTES_MAX)],
  });
  connections = new GrpcConnections(
    {
      keepaliveMs: 60_000,
      keepaliveTimeoutMs: 60_000,
      ageMsMax: AGE_MS,
      ageGraceMs: 60_000,
      connectionsMax: 100,
      callsPerConnectionMax: 100,
      callsMax: 100,
      requestMsMax: 60_000,
    },
    new Metrics(),
    'router',
  );
  const [groups, users, memberships] = [{} as ShardGroups, {} as Users, {} as Memberships];
  const options = { pusher, groups, users, memberships, backends, log };
  const api = new PushApi({ ...options, stopping: stopping.signal });
  const service = createPushService(api, connections);
  grpc.server.addService(pushServiceDefinition, service);
  const port = await bindGrpc(grpc.server, '127.0.0.1', 0);
  address = `127.0.0.1:${port}`;
  client = new Client(address, credentials.createInsecure());
});
afterEach(() => {
  client.close();
  grpc.server.forceShutdown();
});

/** A PushStream call that sends bytes as they are. */
class RawStream {
  readonly results: PushStreamResult[] = [];
  readonly call: ClientDuplexStream<Uint8Array, PushStreamResponse>;
  readonly ended: Promise<ServiceError | undefined>;

  constructor(options: ChannelOptions = {}) {
    const own = new Client(address, credentials.createInsecure(), options);
    this.call = own.makeBidiStreamRequest(
      `/${SERVICE}/PushStream`,
      (bytes: Uint8Array) => Buffer.from(bytes),
      (bytes) => PushStreamResponse.decode(bytes),
      new Metadata(),
      { deadline: Date.now() + 30_000 },
    );
    this.call.on('data', ({ results }: PushStreamResponse) => this.results.push(...results));
    this.ended = new Promise((resolve) => {
      this.call.on('error', resolve);
      this.call.on('end', () => resolve(undefined));
    });
    void this.ended.then(() => own.close());
  }

  /** Ends the call and returns the outcomes: correlation id and verdict or code. */
  async outcomes(): Promise<string[]> {
    this.call.end();
    expect(await this.ended).toBeUndefined();
    return this.results.map(({ correlationId, outcome }) => {
      const text = outcome?.$case === 'push' ? Verdict[outcome.value.verdict] : outcome?.value.code;
      return `${correlationId} ${text}`;
    });
  }
}

const item = (correlationId: string, payloadBytes = 1): PushStreamItem => ({
  correlationId,
  push: PushRequest.fromPartial({ clientId: 'alice', payload: Buffer.alloc(payloadBytes) }),
});
const messageOf = (...items: PushStreamItem[]) => PushStreamRequest.encode({ items }).finish();
/** A message with items that are bytes. */
function rawMessage(...items: Uint8Array[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const bytes of items) writer.tag(1, WireType.LengthDelimited).bytes(bytes);
  return writer.finish();
}
const itemBytes = (id: string, pushBytes: Uint8Array) =>
  new BinaryWriter()
    .tag(1, WireType.Varint)
    .uint64(id)
    .tag(2, WireType.LengthDelimited)
    .bytes(pushBytes)
    .finish();
const clientIdBytes = (bytes: Uint8Array) =>
  new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(bytes).finish();

test.each(['0', '1', '9007199254740991', '9007199254740993', '18446744073709551615'])(
  'correlation_id %s is returned exactly',
  async (id) => {
    const stream = new RawStream();
    stream.call.write(messageOf(item(id), { correlationId: id, push: undefined }));
    expect((await stream.outcomes()).sort()).toEqual([
      `${id} REQUEST_MALFORMED`,
      `${id} VERDICT_WRITTEN`,
    ]);
  },
);

const MAX = '18446744073709551615';
const good = PushStreamItem.encode(item('7')).finish();
const notUtf8 = Buffer.of(0x61, 0xff);
test.each([
  ['a string that is not UTF-8', rawMessage(itemBytes(MAX, clientIdBytes(notUtf8)), good), MAX],
  ['a truncated push', rawMessage(itemBytes(MAX, Buffer.of(0x0a, 0x05, 0x61)), good), MAX],
  ['an item that is no message', rawMessage(Buffer.of(0xff, 0xff), good), '0'],
  ['garbage behind an item', Buffer.concat([rawMessage(good), Buffer.of(0x0a, 0x7f, 0x01)]), '0'],
  ['an illegal tag', Buffer.concat([rawMessage(good), Buffer.of(0x07)]), '0'],
])('%s is answered, and so is the rest', async (_, bytes, id) => {
  const stream = new RawStream();
  stream.call.write(bytes);
  stream.call.write(messageOf(item('8')));
  expect((await stream.outcomes()).sort()).toEqual(
    [`${id} REQUEST_MALFORMED`, '7 VERDICT_WRITTEN', '8 VERDICT_WRITTEN'].sort(),
  );
  expect(begun.every(({ clientId }) => clientId === 'alice')).toBe(true);
});

test('fields that are unknown are ignored, also between items', async () => {
  const unknown = new BinaryWriter().tag(99, WireType.LengthDelimited).string('x').finish();
  const stream = new RawStream();
  stream.call.write(Buffer.concat([unknown, rawMessage(good), unknown]));
  stream.call.write(Buffer.alloc(0));
  expect(await stream.outcomes()).toEqual(['7 VERDICT_WRITTEN']);
});

test.each([
  ['plain', {}],
  ['compressed', { 'grpc.default_compression_algorithm': 2 }],
])('a message over the maximum is answered and dropped: %s', async (_, options) => {
  const stream = new RawStream(options);
  stream.call.write(messageOf(item('1')));
  stream.call.write(messageOf(item('2', MESSAGE_BYTES_MAX)));
  stream.call.write(messageOf(item('3', MESSAGE_BYTES_MAX - 100)));
  expect(await stream.outcomes()).toEqual([
    '1 VERDICT_WRITTEN',
    '0 PAYLOAD_TOO_LARGE',
    '3 VERDICT_WRITTEN',
  ]);
});

test('a unary call with a string that is not UTF-8 is rejected', async () => {
  const error = await new Promise<ServiceError | null>((resolve) => {
    client.makeUnaryRequest(
      `/${SERVICE}/Push`,
      (bytes: Buffer) => bytes,
      (bytes) => bytes,
      Buffer.from(clientIdBytes(notUtf8)),
      (failure) => resolve(failure),
    );
  });
  expect(error?.code).toBe(status.INTERNAL);
  expect(error?.details).toMatch(/^REQUEST_MALFORMED: /);
  expect(begun).toEqual([]);
});

test('the router reads no more than its bounds while pushes wait, and reads on after them', async () => {
  answers = [];
  const stream = new RawStream();
  const count = 40;
  const payloadBytes = MESSAGE_BYTES_MAX / 4;
  for (let i = 1; i <= count; i++) stream.call.write(messageOf(item(`${i}`, payloadBytes)));
  // Four fill the bound.
  await eventually(() => begun.length >= 3);
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(begun.length).toBeLessThanOrEqual(5);
  const waiting = answers;
  answers = undefined;
  for (const answer of waiting) answer();
  expect(await stream.outcomes()).toHaveLength(count);
});

test('a stopping router answers what it has read, although nothing more is read', async () => {
  answers = [];
  const stream = new RawStream();
  for (let i = 1; i <= 10; i++) {
    stream.call.write(messageOf(item(`${i}`, MESSAGE_BYTES_MAX / 4)));
  }
  await eventually(() => begun.length >= 3);
  stopping.abort();
  for (const answer of answers) answer();
  expect((await stream.ended)?.code).toBe(status.UNAVAILABLE);
  expect(stream.results).toHaveLength(begun.length);
});

test('a stream ends with its connection, answered, and the next one loses nothing', async () => {
  connections.attach(grpc.server);
  const results = new Set<string>();
  const codes: (number | undefined)[] = [];
  const count = 300;
  let sent = 0;
  for (let streams = 0; results.size < count; streams++) {
    // More than a busy machine needs, which sends little in the age of a connection.
    expect(streams).toBeLessThan(300);
    const stream = new RawStream();
    // Pushes without an answer are sent again.
    for (let i = 1; i <= sent; i++)
      if (!results.has(`${i}`)) stream.call.write(messageOf(item(`${i}`)));
    let hasEnded = false;
    void stream.ended.then((error) => {
      hasEnded = true;
      codes.push(error?.code);
    });
    while (!hasEnded && sent < count) {
      stream.call.write(messageOf(item(`${++sent}`)));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    if (sent === count && !hasEnded) stream.call.end();
    await stream.ended;
    for (const { correlationId } of stream.results) results.add(correlationId);
  }
  expect(begun.length).toBeGreaterThanOrEqual(count);
  expect(codes.filter((code) => code !== undefined && code !== status.UNAVAILABLE)).toEqual([]);
  expect(codes).toContain(status.UNAVAILABLE);
});
