/** Follows control's event log, across restarts of control and broken connections. */
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EventInfo } from './api.js';
import { type ControlAddress, isFinal, openControl } from './request.js';

const RETRY_MS = 1_000;
/** Control sends a comment every 15 s. */
const SILENCE_MAX_MS = 45_000;

/**
 * Yields the stored events after an id, then each new one, without end.
 * @param onBreak called with the reason when the stream breaks; it is opened again
 * @throws Failure when control rejects, or cannot be reached at first
 */
export async function* followEvents(
  address: ControlAddress,
  after: number,
  onBreak: (reason: string) => void,
): AsyncGenerator<EventInfo> {
  let newest = after;
  let hasConnected = false;
  for (;;) {
    try {
      const headers = { accept: 'text/event-stream', 'last-event-id': `${newest}` };
      const stream = await openControl(address, '/v1/events', headers);
      hasConnected = true;
      // An event is one line of data, which also contains its id.
      for await (const line of linesOf(stream)) {
        if (!line.startsWith('data: ')) continue;
        const event = JSON.parse(line.slice('data: '.length)) as EventInfo;
        newest = event.id;
        yield event;
      }
      onBreak('control ended the stream');
    } catch (error) {
      if (!hasConnected || isFinal(error)) throw error;
      onBreak((error as Error).message);
    }
    await sleep(RETRY_MS);
  }
}

/** Unlike readline it reports that its input has broken. */
async function* linesOf(stream: IncomingMessage): AsyncGenerator<string> {
  stream.setTimeout(SILENCE_MAX_MS, () => stream.destroy(new Error('control is silent')));
  let rest = '';
  for await (const chunk of stream.setEncoding('utf8')) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    yield* lines;
  }
}
