/**
 * A gRPC server with `grpc.health.v1` and server reflection, so that grpcurl and grpc-health-probe
 * work without configuration.
 */
import type { Http2Server, ServerHttp2Stream } from 'node:http2';
import {
  Server,
  ServerCredentials,
  type ServerInterceptor,
  type ServerOptions,
  type ServiceError,
} from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { joinHostPort } from '../../net/host-port.js';
import { EnvironmentError, within } from '../lifecycle.js';
import { addCodes } from './calls.js';
import { OpenStreams } from './open-streams.js';
import { addReflection } from './reflection.js';

const HEALTH_SERVICE = 'grpc.health.v1.Health';

export interface GrpcServer {
  readonly server: Server;
  readonly health: HealthImplementation;
  /** Answer to health checks. */
  healthStatus: 'SERVING' | 'NOT_SERVING';
  /** Full names for health checks; '' is the server itself. */
  readonly services: readonly string[];
  readonly streams: OpenStreams;
}

/** @param services full names, such as `longline.v1.PushService` */
export function createGrpcServer(services: readonly string[], options: ServerOptions): GrpcServer {
  const streams = new OpenStreams();
  const server = new Server({
    ...options,
    interceptors: [streams.interceptor, ...(options.interceptors ?? []), addCodes],
  });
  const checked = ['', ...services];
  const health = new HealthImplementation(
    Object.fromEntries(checked.map((name) => [name, 'SERVING' as const])),
  );
  health.addToServer(server);
  addReflection(server, [...services, HEALTH_SERVICE]);
  return { server, health, healthStatus: 'SERVING', services: checked, streams };
}

/** Answers health checks and watches of every service; watches receive only changes. */
export function setHealth(grpc: GrpcServer, healthStatus: 'SERVING' | 'NOT_SERVING'): void {
  if (grpc.healthStatus === healthStatus) return;
  grpc.healthStatus = healthStatus;
  for (const service of grpc.services) grpc.health.setStatus(service, healthStatus);
}

interface StopOptions {
  /** Paths of the streams that their service ends. */
  readonly ownStreams?: readonly string[];
  /** Has connections of its own. */
  readonly direct?: { close(): void; end(reason: Partial<ServiceError>): void; destroy(): void };
}

/** Time for a status to reach a caller that reads. */
const STATUS_MS = 1_500;

/**
 * Stops a server: its health is NOT_SERVING, it accepts no further calls, and streams that never
 * end by themselves end with the reason, on which clients retry. Calls in flight have `graceMs`;
 * what is open then belongs to a caller that does not read, and its connection is closed.
 */
export async function stopGrpc(
  grpc: GrpcServer,
  reason: Partial<ServiceError>,
  graceMs: number,
  { ownStreams = [], direct }: StopOptions = {},
): Promise<void> {
  const { server, streams } = grpc;
  setHealth(grpc, 'NOT_SERVING');
  const stopped = new Promise<void>((resolve) => {
    server.tryShutdown(() => resolve());
  });
  direct?.close();
  streams.end(reason, ownStreams);
  await within(graceMs, stopped);
  streams.end(reason, []);
  direct?.end(reason);
  await within(STATUS_MS, stopped);
  server.forceShutdown();
  direct?.destroy();
}

/** The HTTP/2 servers of a server that listens, which the library does not offer. */
export function http2ServersOf(server: Server): readonly Http2Server[] {
  // Private to the library, hence the forced type.
  const { http2Servers } = server as unknown as { http2Servers: Map<Http2Server, unknown> };
  return [...http2Servers.keys()];
}

/** The HTTP/2 stream of a call, which the library does not offer. */
export function streamOf(call: Parameters<ServerInterceptor>[1]): ServerHttp2Stream {
  return (call as unknown as { stream: ServerHttp2Stream }).stream;
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
