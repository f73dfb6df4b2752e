/** Calls of a router's Push API, with the options that all commands have for it. */
import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import {
  type CallOptions,
  type ChannelCredentials,
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

type Start<Response> = (
  client: PushServiceClient,
  metadata: Metadata,
  options: CallOptions,
  done: (error: ServiceError | null, response: Response) => void,
) => void;

/**
 * @param timeoutMs undefined: the call has no deadline
 * @throws Failure when the router rejects or cannot be reached
 */
export function callRouter<Response>(
  options: RouterOptions,
  timeoutMs: number | undefined,
  start: Start<Response>,
): Promise<Response> {
  const { router, token = process.env.LONGLINE_TOKEN } = options;
  const metadata = new Metadata();
  if (token) metadata.set('authorization', `Bearer ${token}`);
  const client = new PushServiceClient(router, credentialsOf(options), DIRECT);
  const callOptions = timeoutMs === undefined ? {} : { deadline: deadlineIn(timeoutMs) };
  return new Promise<Response>((resolve, reject) => {
    start(client, metadata, callOptions, (error, response) => {
      if (error) reject(failureOf(error, router));
      else resolve(response);
    });
  }).finally(() => client.close());
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

function failureOf(error: ServiceError, router: string): Failure {
  const isRejection = error.metadata.get('longline-code').length > 0;
  if (isRejection) return new Failure(error.details);
  if (error.details.includes('ECONNREFUSED')) return notRunning(router);
  if (error.code === status.DEADLINE_EXCEEDED) {
    return new Failure(`${router} did not answer in time`);
  }
  return new Failure(`cannot call ${router}: ${error.details}`);
}
