/** `longline dead-letters`: the events that a webhook has not accepted. */
import {
  EventServiceClient,
  type ListDeadLettersResponse,
} from '../../../proto/gen/longline/v1/events.js';
import { CALL_SLACK_MS, callService, type RouterOptions } from './router-call.js';

export interface DeadLettersOptions extends RouterOptions {
  readonly limit: number;
}

/**
 * Prints the letters, the newest first.
 * @throws Failure when the router rejects or cannot be reached
 */
export async function deadLetters(webhook: string, options: DeadLettersOptions): Promise<number> {
  const { letters } = await callService<EventServiceClient, ListDeadLettersResponse>(
    EventServiceClient,
    options,
    CALL_SLACK_MS,
    (client, ...rest) => client.listDeadLetters({ webhook, limit: options.limit }, ...rest),
  );
  if (options.json) console.log(JSON.stringify({ webhook, letters }));
  else {
    for (const { event, reason, atMs } of letters) {
      console.log(`${new Date(atMs).toISOString()}  ${reason}  ${event}`);
    }
    if (letters.length === 0) console.log('no dead letters');
  }
  return 0;
}
