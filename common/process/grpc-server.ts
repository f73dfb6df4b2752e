/**
 * A gRPC server with `grpc.health.v1` and server reflection, so that grpcurl and grpc-health-probe
 * work without configuration.
 */
import { readFileSync } from 'node:fs';
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerOptions,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadFileDescriptorSetFromBuffer, loadSync } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation, protoPath as healthProtoPath } from 'grpc-health-check';
import { catalogue, type Rejection } from './errors.js';
import { EnvironmentError } from './lifecycle.js';

/** Descriptors of all services, generated with the code. */
const SCHEMA_URL = new URL('../../proto/gen/image.binpb', import.meta.url);

export interface GrpcServer {
  readonly server: Server;
  readonly health: HealthImplementation;
}

/** @param services full names, such as `longline.v1.PushService` */
export function createGrpcServer(services: readonly string[], options: ServerOptions): GrpcServer {
  const server = new Server(options);
  const health = new HealthImplementation(
    Object.fromEntries(['', ...services].map((name) => [name, 'SERVING' as const])),
  );
  health.addToServer(server);
  const schema = loadFileDescriptorSetFromBuffer(readFileSync(SCHEMA_URL));
  new ReflectionService({ ...schema, ...loadSync(healthProtoPath) }).addToServer(server);
  return { server, health };
}

/** Resolves with the bound port; rejects with an EnvironmentError when it cannot listen. */
export function bindGrpc(
  server: Server,
  host: string,
  port: number,
  credentials = ServerCredentials.createInsecure(),
): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, credentials, (error, bound) =>
      error
        ? reject(new EnvironmentError(`cannot listen on ${host}:${port}: ${error.message}`))
        : resolve(bound),
    );
  });
}

/** Returns the value of `authorization` in the metadata of a call. */
export function authorizationOf(metadata: Metadata): string | undefined {
  return metadata.get('authorization')[0]?.toString();
}

/** Maps a rejection to a gRPC status, with its code in the message and in the metadata. */
export function toServiceError(rejected: Rejection): Partial<ServiceError> {
  const metadata = new Metadata();
  metadata.set('longline-code', rejected.code);
  return {
    code: catalogue[rejected.code].grpc,
    details: `${rejected.code}: ${rejected.message}`,
    metadata,
  };
}
