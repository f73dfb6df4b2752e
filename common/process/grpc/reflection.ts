/**
 * Server reflection from the descriptors that the build has generated. They are passed on as they
 * are: what proto-loader and protobufjs write in their place has invalid names for map entries, which
 * Go clients such as grpcurl reject.
 */
import { readFileSync } from 'node:fs';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import type { PackageDefinition, ServiceDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';

/** A FileDescriptorSet of all services, `grpc.health.v1` included. */
const SCHEMA_URL = new URL('../../../proto/gen/image.binpb', import.meta.url);
/** Field number of FileDescriptorSet.file. */
const FILE = 1;

/** @param services full names of the services to list */
export function createReflection(services: readonly string[]): ReflectionService {
  const fileDescriptorProtos = readFiles(readFileSync(SCHEMA_URL));
  // The service reads nothing but the descriptors of an entry.
  const schema = { fileDescriptorProtos } as unknown as ServiceDefinition;
  const definition: PackageDefinition = { schema };
  return new ReflectionService(definition, { services: [...services] });
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
