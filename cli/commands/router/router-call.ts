/** Calls of a router's gRPC, with the options that all commands have for it. */
import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import {
  type CallOptions,
  type ChannelCredentials,
  type ClientOptions,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { deadlineIn } from '../../../common/process/grpc/calls.js';
import { DIRECT } from '../../../common/process/grpc-link.js';
import { PushServiceClient } from '../../../proto/gen/longline/v1/push.js';
import { notRunning } from '../../control/request.js';
import { Failure } from '../../terminal/failure.js';

export interface RouterOptions {
  /** `host:port` of a router's gRPC. */
  readonly router: string;
  /** Undefined: LONGLINE_TOKEN. */
  readonly token?: string;
  /** PEM files; with none of them the connection is without TLS. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly json?: boolean;
}

/** Time of a call beyond its own wait: connecting, and a router's default wait. */
export const CALL_SLACK_MS = 15_000;

type Start<Client, Response> = (
  client: Client,
  metadata: Metadata,
  options: CallOptions,
  done: (error: ServiceError | null, response: Response) => void,
) => void;

interface Closable {
  close(): void;
}

/** The constructor of a generated client. */
type ClientOf<Service> = new (
  address: string,
  credentials: ChannelCredentials,
  options: Partial<ClientOptions>,
) => Service;

/**
 * @param timeoutMs undefined: the call has no deadline
 * @throws Failure when the router rejects or cannot be reached
 */
export function callRouter<Response>(
  options: RouterOptions,
  timeoutMs: number | undefined,
  start: Start<PushServiceClient, Response>,
): Promise<Response> {
  return callService(PushServiceClient, options, timeoutMs, start);
}

/** The same for any service of a router. */
export function callService<Service extends Closable, Response>(
  Service: ClientOf<Service>,
  options: RouterOptions,
  timeoutMs: number | undefined,
  start: Start<Service, Response>,
): Promise<Response> {
  const { client, metadata } = openService(Service, options);
  const callOptions = timeoutMs === undefined ? {} : { deadline: deadlineIn(timeoutMs) };
  return new Promise<Response>((resolve, reject) => {
    start(client, metadata, callOptions, (error, response) => {
      if (error) reject(failureOf(error, options.router));
      else resolve(response);
    });
  }).finally(() => client.close());
}

/** A client of a service, to be closed, and the metadata of its calls. */
export function openService<Service extends Closable>(
  Service: ClientOf<Service>,
  options: RouterOptions,
): { readonly client: Service; readonly metadata: Metadata } {
  const { router, token = process.env.LONGLINE_TOKEN } = options;
  const metadata = new Metadata();
  if (token) metadata.set('authorization', `Bearer ${token}`);
  return { client: new Service(router, credentialsOf(options), DIRECT), metadata };
}

/** @param text `-` reads standard input */
export async function readPayload(text: string): Promise<Buffer> {
  return text === '-' ? await buffer(process.stdin) : Buffer.from(text);
}

function credentialsOf({ ca, cert, key }: RouterOptions): ChannelCredentials {
  if (ca === undefined && cert === undefined && key === undefined) {
    return credentials.createInsecure();
  }
  const read = (path: string | undefined) => (path === undefined ? null : readFileSync(path));
  try {
    return credentials.createSsl(read(ca), read(key), read(cert));
  } catch (error) {
    throw new Failure(`cannot use TLS: ${(error as Error).message}`);
  }
}

export function failureOf(caught: unknown, router: string): Failure {
  const error = caught as ServiceError;
  const isRejection = error.metadata.get('longline-code').length > 0;
  if (isRejection) return new Failure(error.details);
  if (error.details.includes('ECONNREFUSED')) return notRunning(router);
  if (error.code === status.DEADLINE_EXCEEDED) {
    return new Failure(`${router} did not answer in time`);
  }
  return new Failure(`cannot call ${router}: ${error.details}`);
}
