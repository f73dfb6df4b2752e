/** `longline push`: one push to one client, and its verdict. */
import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import {
  type ChannelCredentials,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import {
  PushRequest,
  type PushResponse,
  PushServiceClient,
  Verdict,
} from '../../proto/gen/longline/v1/push.js';
import { notRunning } from '../control/request.js';
import { Failure } from '../terminal/failure.js';

export interface PushOptions {
  /** `host:port` of a router's gRPC. */
  readonly router: string;
  /** Milliseconds that the router waits for the verdict. Undefined: the router's default. */
  readonly wait?: number;
  /** TTL in milliseconds; 0: live only. Undefined: the router's default. */
  readonly ttl?: number;
  /** Forwarded to devices whose protocol can express it. */
  readonly contentType?: string;
  readonly idempotencyKey?: string;
  readonly token?: string;
  /** PEM files; with none of them the connection is without TLS. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly json?: boolean;
}

/** Time of a call beyond its wait: connecting, and a router's default wait. */
const CALL_SLACK_MS = 15_000;

/**
 * Prints the verdict and returns the exit status: 0 when the push was written to the device.
 * @param payload `-` reads standard input
 * @throws Failure when the router rejects or cannot be reached
 */
export async function push(clientId: string, payload: string, options: PushOptions) {
  const bytes = payload === '-' ? await buffer(process.stdin) : Buffer.from(payload);
  const { verdict, messageId } = await call(clientId, bytes, options);
  const word = Verdict[verdict]?.replace('VERDICT_', '') ?? `verdict ${verdict}`;
  console.log(
    options.json
      ? JSON.stringify({ clientId, verdict: word, messageId: messageId || null })
      : `${word}  ${messageId || 'no id'}`,
  );
  return verdict === Verdict.VERDICT_WRITTEN ? 0 : 1;
}

function call(clientId: string, payload: Buffer, options: PushOptions): Promise<PushResponse> {
  const { router, wait: waitMs = 0, ttl: ttlMs, contentType = '', idempotencyKey = '' } = options;
  const token = options.token ?? process.env.LONGLINE_TOKEN;
  const metadata = new Metadata();
  if (token) metadata.set('authorization', `Bearer ${token}`);
  const client = new PushServiceClient(router, credentialsOf(options));
  const deadline = Date.now() + waitMs + CALL_SLACK_MS;
  return new Promise<PushResponse>((resolve, reject) => {
    const request = PushRequest.fromPartial({
      clientId,
      payload,
      contentType,
      waitMs,
      ttlMs,
      idempotencyKey,
    });
    client.push(request, metadata, { deadline }, (error, response) => {
      if (error) reject(failureOf(error, router));
      else resolve(response);
    });
  }).finally(() => client.close());
}

function credentialsOf({ ca, cert, key }: PushOptions): ChannelCredentials {
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
  return new Failure(`cannot push through ${router}: ${error.details}`);
}
