/**
 * Server reflection from the descriptors that the build has generated. They are passed on as they
 * are: what proto-loader and protobufjs write in their place has invalid names for map entries,
 * which Go clients such as grpcurl reject.
 *
 * The library and its index of all descriptors are loaded by the first call. Hardly any process is
 * asked, and they would take a fifth of the processor time of a start.
 */
import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import {
  type MethodDefinition,
  type Server,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js';
import type { PackageDefinition, ServiceDefinition as SchemaEntry } from '@grpc/proto-loader';

/** A FileDescriptorSet of all services, `grpc.health.v1` included. */
const SCHEMA_URL = new URL('../../../proto/gen/image.binpb', import.meta.url);
/** Field number of FileDescriptorSet.file. */
const FILE = 1;

const NAMES = ['grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection'];
const METHOD = 'ServerReflectionInfo';

type Call = ServerDuplexStream<Buffer, Buffer>;

/** A method of the library, and how its messages are encoded. */
interface LibraryMethod {
  readonly definition: MethodDefinition<unknown, unknown>;
  /** @param stream the part of a call that the library uses */
  readonly answer: (stream: EventEmitter) => void;
}

/** @param services full names of the services to list */
export function addReflection(server: Server, services: readonly string[]): void {
  const methods = once(() => load(services));
  const same = (bytes: Buffer) => bytes;
  for (const name of NAMES) {
    const path = `/${name}/${METHOD}`;
    const definition: MethodDefinition<Buffer, Buffer> = {
      path,
      requestStream: true,
      responseStream: true,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    };
    const answer = (call: Call) => {
      methods().then(
        (loaded) => serve(call, loaded.get(path)!),
        (error) => fail(call, error),
      );
    };
    server.addService({ [METHOD]: definition }, { [METHOD]: answer });
  }
}

/** Returns the methods of the library by their paths. */
async function load(services: readonly string[]): Promise<Map<string, LibraryMethod>> {
  const { ReflectionService } = await import('@grpc/reflection');
  const fileDescriptorProtos = readFiles(readFileSync(SCHEMA_URL));
  // The service reads nothing but the descriptors of an entry.
  const schema = { fileDescriptorProtos } as unknown as SchemaEntry;
  const definition: PackageDefinition = { schema };
  const methods = new Map<string, LibraryMethod>();
  const addService = (
    added: ServiceDefinition,
    implementation: Record<string, LibraryMethod['answer']>,
  ) => {
    methods.set(added[METHOD]!.path, {
      definition: added[METHOD]!,
      answer: implementation[METHOD]!,
    });
  };
  // It calls nothing else.
  const server = { addService } as unknown as Server;
  new ReflectionService(definition, { services: [...services] }).addToServer(server);
  return methods;
}

function serve(call: Call, { definition, answer }: LibraryMethod): void {
  const stream = Object.assign(new EventEmitter(), {
    write: (response: unknown) => call.write(definition.responseSerialize(response)),
    end: () => call.end(),
  });
  answer(stream);
  call.on('data', (bytes: Buffer) => {
    try {
      stream.emit('data', definition.requestDeserialize(bytes));
    } catch (error) {
      fail(call, error as Error);
    }
  });
  call.on('end', () => stream.emit('end'));
}

function fail(call: Call, { message }: Error): void {
  call.emit('error', { code: status.INTERNAL, details: message });
}

function once<Result>(compute: () => Result): () => Result {
  let result: Result | undefined;
  return () => {
    result ??= compute();
    return result;
  };
}

function readFiles(set: Uint8Array): Buffer[] {
  const reader = new BinaryReader(set);
  const files: Buffer[] = [];
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === FILE) files.push(Buffer.from(reader.bytes()));
    else reader.skip(type);
  }
  return files;
}
