/** Control's event log as it grows, across restarts of control and cut connections. */
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EventInfo } from './api.js';
import { type ControlAddress, isFinal, openControl } from './request.js';

const RETRY_MS = 1_000;
/** Control says something every 15 s. */
const SILENCE_MAX_MS = 45_000;

/**
 * Yields the events after one that are still kept, then each later one, without end.
 * @param onBreak hears why there is nothing at the moment; it is tried again
 * @throws Failure when control rejects, or cannot be reached at first
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
      for await (const line of linesOf(stream)) {
        if (!line.startsWith('data: ')) continue;
        const event = JSON.parse(line.slice('data: '.length)) as EventInfo;
        newest = event.id;
        yield event;
      }
      onBreak('control has ended the stream');
    } catch (error) {
      if (!hasConnected || isFinal(error)) throw error;
      onBreak((error as Error).message);
    }
    await sleep(RETRY_MS);
  }
}

/** Not readline, which does not notice that its input breaks. */
async function* linesOf(stream: IncomingMessage): AsyncGenerator<string> {
  stream.setTimeout(SILENCE_MAX_MS, () => stream.destroy(new Error('control is silent')));
  let rest = '';
  for await (const chunk of stream.setEncoding('utf8')) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    yield* lines;
  }
}
