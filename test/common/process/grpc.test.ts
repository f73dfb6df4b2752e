/** The gRPC server that all roles use: codes of the statuses of the library, and reflection. */
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import {
  type ChannelOptions,
  Client,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  bindGrpc,
  createGrpcServer,
  type GrpcServer,
} from '../../../common/process/grpc/grpc-server.js';
import { PushRequest, PushServiceService } from '../../../proto/gen/longline/v1/push.js';

const SERVICE = 'longline.v1.PushService';
const MESSAGE_BYTES_MAX = 10_000;

let grpc: GrpcServer;
let address: string;
let client: Client;

beforeAll(async () => {
  grpc = createGrpcServer([SERVICE], { 'grpc.max_receive_message_length': MESSAGE_BYTES_MAX });
  const never = () => {};
  grpc.server.addService(PushServiceService, {
    push: ({ request }: { request: PushRequest }) => {
      if (request.clientId === 'bug') throw new Error('a bug');
    },
    pushMany: never,
    broadcast: never,
    getPresence: never,
    disconnect: never,
    pushStream: never,
  });
  address = `127.0.0.1:${await bindGrpc(grpc.server, '127.0.0.1', 0)}`;
  client = new Client(address, credentials.createInsecure());
});
afterAll(() => {
  client.close();
  grpc.server.forceShutdown();
});

/** Sends bytes as the request of a method, and returns the error. */
function send(bytes: Buffer, options: ChannelOptions = {}): Promise<ServiceError> {
  const own = new Client(address, credentials.createInsecure(), options);
  return new Promise<ServiceError>((resolve, reject) => {
    own.makeUnaryRequest(
      `/${SERVICE}/Push`,
      (request: Buffer) => request,
      (response) => response,
      bytes,
      new Metadata(),
      { deadline: Date.now() + 5_000 },
      (error) => (error ? resolve(error) : reject(new Error('the call succeeded'))),
    );
  }).finally(() => own.close());
}

const pushOf = (fields: Partial<PushRequest>) =>
  Buffer.from(PushRequest.encode(PushRequest.fromPartial(fields)).finish());
const tooLarge = pushOf({ clientId: 'alice', payload: Buffer.alloc(MESSAGE_BYTES_MAX) });
const GZIP = { 'grpc.default_compression_algorithm': 2 };

test.each([
  ['a message over the limit', tooLarge, {}, status.RESOURCE_EXHAUSTED, 'PAYLOAD_TOO_LARGE'],
  ['one that is over it unpacked', tooLarge, GZIP, status.RESOURCE_EXHAUSTED, 'PAYLOAD_TOO_LARGE'],
  ['an undecodable message', Buffer.of(0xff, 0xff), {}, status.INTERNAL, 'REQUEST_MALFORMED'],
  ['a bug', pushOf({ clientId: 'bug' }), {}, status.UNKNOWN, 'INTERNAL'],
])('%s is answered with a code', async (_, bytes, options, code, longlineCode) => {
  const error = await send(bytes, options);
  expect(error.code).toBe(code);
  expect(error.details).toMatch(new RegExp(`^${longlineCode}: `));
  expect(error.metadata.get('longline-code')).toEqual([longlineCode]);
});

describe('reflection', () => {
  const PROTO = join(
    dirname(createRequire(import.meta.url).resolve('@grpc/reflection')),
    '../proto/grpc/reflection/v1/reflection.proto',
  );

  // biome-ignore lint/suspicious/noExplicitAny: loaded at run time
  async function ask(request: object): Promise<any> {
    // biome-ignore lint/suspicious/noExplicitAny: loaded at run time
    const { grpc: loaded } = loadPackageDefinition(loadSync(PROTO, { keepCase: true })) as any;
    const reflection = new loaded.reflection.v1.ServerReflection(
      address,
      credentials.createInsecure(),
    );
    try {
      const stream = reflection.ServerReflectionInfo();
      // biome-ignore lint/suspicious/noExplicitAny: loaded at run time
      const answer = new Promise<any>((resolve, reject) => {
        stream.on('data', resolve);
        stream.on('error', reject);
      });
      stream.write(request);
      stream.end();
      return await answer;
    } finally {
      reflection.close();
    }
  }

  async function fileOf(symbol: string) {
    const answer = await ask({ file_containing_symbol: symbol });
    const [bytes] = answer.file_descriptor_response.file_descriptor_proto;
    return fromBinary(FileDescriptorProtoSchema, bytes);
  }

  test.each(['v1', 'v1alpha'])(
    '%s answers requests in order, and a malformed one',
    async (name) => {
      const path = `/grpc.reflection.${name}.ServerReflection/ServerReflectionInfo`;
      const same = (bytes: Buffer) => bytes;
      const call = client.makeBidiStreamRequest(path, same, same);
      const answers: Buffer[] = [];
      call.on('data', (answer) => answers.push(answer));
      const failed = once(call, 'error');
      // file_by_filename "nowhere", list_services "", a truncated tag.
      for (const hex of ['1a076e6f7768657265', '3a00', 'ff']) call.write(Buffer.from(hex, 'hex'));
      const [error] = await failed;
      expect(error).toMatchObject({ code: status.INTERNAL });
      expect(answers.map(String)).toEqual([
        expect.stringContaining('Proto file not found: nowhere'),
        expect.stringContaining(SERVICE),
      ]);
    },
  );

  test('lists the served services and no other', async () => {
    const { list_services_response } = await ask({ list_services: '' });
    expect(list_services_response.service.map(({ name }: { name: string }) => name).sort()).toEqual(
      ['grpc.health.v1.Health', SERVICE],
    );
  });

  test('describes health checks with valid map entries', async () => {
    const { messageType } = await fileOf('grpc.health.v1.Health');
    const list = messageType.find(({ name }) => name === 'HealthListResponse')!;
    // protobuf: the entry of a map `statuses` is `StatusesEntry`.
    const entry = '.grpc.health.v1.HealthListResponse.StatusesEntry';
    expect(list.field.map(({ typeName }) => typeName)).toEqual([entry]);
    expect(list.nestedType.map(({ name, options }) => [name, options?.mapEntry])).toEqual([
      ['StatusesEntry', true],
    ]);
  });

  test('describes our services, with the packages of generated code', async () => {
    const file = await fileOf(SERVICE);
    expect(file.name).toBe('longline/v1/push.proto');
    expect(file.options).toMatchObject({
      goPackage: 'longline/v1;longlinev1',
      javaPackage: 'io.longline.v1',
      javaMultipleFiles: true,
    });
  });
});
