/** `longline broadcast`: one live-only payload to the connected clients, at a rate. */
import { BroadcastRequest, type BroadcastResponse } from '../../../proto/gen/longline/v1/push.js';
import { plural } from '../format.js';
import { callRouter, type RouterOptions, readPayload } from './router-call.js';
import { whenSlowOf } from './when-slow.js';

export interface BroadcastOptions extends RouterOptions {
  /** Clients per second. */
  readonly rate: number;
  /** Milliseconds. Undefined: until every shard was sent to. */
  readonly deadline?: number;
  readonly contentType?: string;
  /** Label selector. */
  readonly selector?: string;
  readonly whenSlow?: 'disconnect' | 'drop';
}

/**
 * Prints the counts and returns the exit status: 0 when every edge has answered for every shard,
 * and knows the labels of all clients if they matter.
 * @param payload `-` reads standard input
 * @throws Failure when the router rejects or cannot be reached
 */
export async function broadcast(payload: string, options: BroadcastOptions): Promise<number> {
  const request = BroadcastRequest.fromPartial({
    payload: await readPayload(payload),
    clientsPerSecond: options.rate,
    contentType: options.contentType ?? '',
    selector: options.selector ?? '',
    whenSlow: whenSlowOf(options),
  });
  const response = await callRouter<BroadcastResponse>(
    options,
    options.deadline,
    (client, ...rest) => client.broadcast(request, ...rest),
  );
  if (options.json) console.log(JSON.stringify(response));
  else print(response, request.selector !== '');
  const { labelsUnknown, shardsUnknown, shardsNotSent } = response;
  return labelsUnknown + shardsUnknown + shardsNotSent === 0 ? 0 : 1;
}

function print(response: BroadcastResponse, hasSelector: boolean): void {
  const { written, slow, dropped, notSelected, labelsUnknown, shardsUnknown, shardsNotSent } =
    response;
  const others = hasSelector ? `, ${notSelected} not selected` : '';
  const drops = dropped > 0 ? `, dropped for ${plural(dropped, 'slow client')}` : '';
  console.log(
    `written to ${plural(written, 'client')}, ${plural(slow, 'slow client')}${drops}${others}`,
  );
  if (labelsUnknown > 0) {
    console.log(
      `not written to ${plural(labelsUnknown, 'client')} whose labels are unknown: an edge has too ` +
        'many different sets of labels (LONGLINE_EDGE_LABEL_SETS_MAX)',
    );
  }
  if (shardsUnknown > 0) {
    console.log(`unknown for ${plural(shardsUnknown, 'shard')}: an edge did not answer in time`);
  }
  if (shardsNotSent > 0) {
    console.log(
      `not sent to ${plural(shardsNotSent, 'shard')}: no time left, or Redis rejected it`,
    );
  }
}
