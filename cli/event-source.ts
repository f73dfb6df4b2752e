/** Control's event log as it grows, across restarts of control and cut connections. */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EventInfo } from './control-api.js';
import { type ControlAddress, isFinal, openControl } from './control-request.js';
import type { Failure } from './failure.js';

const RETRY_MS = 1_000;

/**
 * Yields the events after one that are still kept, then each later one, without end.
 * @param onBreak hears why there is nothing at the moment; it is tried again
 * @throws Failure when control refuses, or cannot be reached at first
 */
export async function* followEvents(
  address: ControlAddress,
  after: number,
  onBreak: (why: string) => void,
): AsyncGenerator<EventInfo> {
  let newest = after;
  let hasConnected = false;
  for (;;) {
    try {
      const headers = { accept: 'text/event-stream', 'last-event-id': `${newest}` };
      const stream = await openControl(address, '/v1/events', headers);
      hasConnected = true;
      // An event is one line of data; its id is in it, too.
      for await (const line of createInterface({ input: stream })) {
        if (!line.startsWith('data: ')) continue;
        const event = JSON.parse(line.slice('data: '.length)) as EventInfo;
        newest = event.id;
        yield event;
      }
      onBreak('control has ended the stream');
    } catch (error) {
      if (!hasConnected || isFinal(error)) throw error;
      onBreak((error as Failure).message);
    }
    await sleep(RETRY_MS);
  }
}
