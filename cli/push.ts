/** `longline push`: one push to one client, and what became of it. */
import { buffer } from 'node:stream/consumers';
import { credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import {
  PushRequest,
  type PushResponse,
  PushServiceClient,
  Verdict,
} from '../proto/gen/longline/v1/push.js';
import { notRunning } from './control-request.js';
import { Failure } from './failure.js';

export interface PushOptions {
  /** `host:port` of a router's gRPC. */
  readonly router: string;
  /** How long the router may wait for the verdict, in milliseconds. Its own default otherwise. */
  readonly wait?: number;
  /** How long the push is kept, in milliseconds; 0: live only. The router's default otherwise. */
  readonly ttl?: number;
  readonly idempotencyKey?: string;
  readonly json?: boolean;
}

/** What the call may take beyond the wait: connecting, and a router's own default wait. */
const CALL_SLACK_MS = 15_000;

/**
 * Prints the verdict and returns the exit status: 0 when the push was written to the device.
 * @param payload `-` reads standard input
 * @throws Failure when the router refuses or cannot be reached
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
  const { router, wait: waitMs = 0, ttl: ttlMs, idempotencyKey = '' } = options;
  const client = new PushServiceClient(router, credentials.createInsecure());
  const deadline = Date.now() + waitMs + CALL_SLACK_MS;
  return new Promise<PushResponse>((resolve, reject) => {
    const request = PushRequest.fromPartial({ clientId, payload, waitMs, ttlMs, idempotencyKey });
    client.push(request, new Metadata(), { deadline }, (error, response) => {
      if (error) reject(explained(error, router));
      else resolve(response);
    });
  }).finally(() => client.close());
}

function explained(error: ServiceError, router: string): Failure {
  const isAnswer = error.metadata.get('longline-code').length > 0;
  if (isAnswer) return new Failure(error.details);
  if (error.details.includes('ECONNREFUSED')) return notRunning(router);
  if (error.code === status.DEADLINE_EXCEEDED)
    return new Failure(`no answer from ${router} in time`);
  return new Failure(`cannot push through ${router}: ${error.details}`);
}
