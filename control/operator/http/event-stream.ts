/** The event log as server-sent events: the stored events, then new ones. */
import type { ServerResponse } from 'node:http';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { OperationsApi } from '../operations.js';

/** More than all stored events, so that only a client that does not read reaches it. */
const BUFFER_BYTES_MAX = 4 * 1024 * 1024;
/** Bound on the buffers. */
const STREAMS_MAX = 100;
/** Interval of comments: proxies close streams that are idle. */
const KEEPALIVE_MS = 15_000;

export class EventStreams {
  readonly #open = new Set<ServerResponse>();

  constructor(readonly operations: OperationsApi) {}

  /** Returns a rejection when the maximum number of streams is open. */
  reject(): Rejection | undefined {
    if (this.#open.size < STREAMS_MAX) return undefined;
    const message = `${STREAMS_MAX} event streams are open, the maximum; close one or retry later`;
    return rejection('OVERLOADED', message);
  }

  open(response: ServerResponse, after: number): void {
    // Its close event has been emitted already.
    if (response.destroyed) return;
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
      connection: 'close',
    });
    const write = (text: string) => {
      if (response.destroyed) return;
      response.write(text);
      // The client reconnects and sends the id of the last event it has received.
      if (response.writableLength > BUFFER_BYTES_MAX) response.destroy();
    };
    write('retry: 1000\n');
    const unfollow = this.operations.followEvents(after, (event) =>
      write(`id: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`),
    );
    const keepalive = setInterval(() => write(':\n'), KEEPALIVE_MS);
    this.#open.add(response);
    response.on('error', () => {});
    response.once('close', () => {
      this.#open.delete(response);
      clearInterval(keepalive);
      unfollow();
    });
  }

  /** Ends all streams; they never end by themselves. */
  endAll(): void {
    for (const response of this.#open) response.end();
  }
}
