/** `longline broadcast`: one live-only payload to every connected client, at a rate. */
import { BroadcastRequest, type BroadcastResponse } from '../../../proto/gen/longline/v1/push.js';
import { plural } from '../format.js';
import { callRouter, type RouterOptions, readPayload } from './router-call.js';

export interface BroadcastOptions extends RouterOptions {
  /** Clients per second. */
  readonly rate: number;
  /** Milliseconds. Undefined: until every shard was sent to. */
  readonly deadline?: number;
  readonly contentType?: string;
}

/**
 * Prints the counts and returns the exit status: 0 when every edge has answered for every shard.
 * @param payload `-` reads standard input
 * @throws Failure when the router rejects or cannot be reached
 */
export async function broadcast(payload: string, options: BroadcastOptions): Promise<number> {
  const request = BroadcastRequest.fromPartial({
    payload: await readPayload(payload),
    clientsPerSecond: options.rate,
    contentType: options.contentType ?? '',
  });
  const response = await callRouter<BroadcastResponse>(
    options,
    options.deadline,
    (client, ...rest) => client.broadcast(request, ...rest),
  );
  const { written, slow, shardsUnknown, shardsNotSent } = response;
  if (options.json) console.log(JSON.stringify(response));
  else {
    console.log(`written to ${plural(written, 'client')}, ${plural(slow, 'slow client')}`);
    if (shardsUnknown > 0) {
      console.log(`unknown for ${plural(shardsUnknown, 'shard')}: an edge did not answer in time`);
    }
    if (shardsNotSent > 0) {
      console.log(
        `not sent to ${plural(shardsNotSent, 'shard')}: no time left, or Redis rejected it`,
      );
    }
  }
  return shardsUnknown + shardsNotSent === 0 ? 0 : 1;
}
