import {
  PushManyRequest,
  type PushManyResponse,
  type PushServiceClient,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';

export interface PushToEachOptions {
  readonly clientsPerCall: number;
  /** How long a call waits for the edges' verdicts. */
  readonly waitMs?: number;
  readonly ttlMs?: number;
  readonly payload?: Buffer;
}

export interface PushToEachResult {
  /** Pushes that an edge has written to a device. */
  readonly written: number;
  readonly failed: number;
}

/** Sends one push to each client, durable unless `ttlMs` is 0. */
export async function pushToEach(
  service: PushServiceClient,
  clientIds: readonly string[],
  { clientsPerCall, payload = Buffer.from('hello'), ...options }: PushToEachOptions,
): Promise<PushToEachResult> {
  let written = 0;
  let failed = 0;
  for (let i = 0; i < clientIds.length; i += clientsPerCall) {
    const request = PushManyRequest.fromPartial({
      clientIds: clientIds.slice(i, i + clientsPerCall),
      payload,
      ...options,
    });
    const answer = await new Promise<PushManyResponse>((resolve, reject) => {
      service.pushMany(request, (error, response) => (error ? reject(error) : resolve(response)));
    });
    failed += answer.failed;
    for (const { verdict, count } of answer.counts) {
      if (verdict === Verdict.VERDICT_WRITTEN) written += count;
    }
  }
  return { written, failed };
}
