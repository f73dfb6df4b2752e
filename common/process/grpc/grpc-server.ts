/**
 * A gRPC server with `grpc.health.v1` and server reflection, so that grpcurl and grpc-health-probe
 * work without configuration.
 */
import { Server, ServerCredentials, type ServerOptions } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { joinHostPort } from '../../net/host-port.js';
import { EnvironmentError } from '../lifecycle.js';
import { addCodes } from './calls.js';
import { createReflection } from './reflection.js';

const HEALTH_SERVICE = 'grpc.health.v1.Health';

export interface GrpcServer {
  readonly server: Server;
  readonly health: HealthImplementation;
}

/** @param services full names, such as `longline.v1.PushService` */
export function createGrpcServer(services: readonly string[], options: ServerOptions): GrpcServer {
  const server = new Server({
    ...options,
    interceptors: [...(options.interceptors ?? []), addCodes],
  });
  const health = new HealthImplementation(
    Object.fromEntries(['', ...services].map((name) => [name, 'SERVING' as const])),
  );
  health.addToServer(server);
  createReflection([...services, HEALTH_SERVICE]).addToServer(server);
  return { server, health };
}

/** Resolves with the bound port; rejects with an EnvironmentError when it cannot listen. */
export function bindGrpc(
  server: Server,
  host: string,
  port: number,
  credentials = ServerCredentials.createInsecure(),
): Promise<number> {
  const address = joinHostPort(host, port);
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, bound) =>
      error
        ? reject(new EnvironmentError(`cannot listen on ${address}: ${error.message}`))
        : resolve(bound),
    );
  });
}
