/** The event log as server-sent events: what is kept, then what happens. */
import type { ServerResponse } from 'node:http';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { OperatorOrders } from './orders.js';

/** More than all that is kept, so that only a reader who does not read reaches it. */
const BUFFER_BYTES_MAX = 1024 * 1024;
/** Each has a buffer. */
const STREAMS_MAX = 100;
/** Whatever is on the way takes a silent stream for dead. */
const KEEP_OPEN_MS = 15_000;

export class EventStreams {
  readonly #open = new Set<ServerResponse>();

  constructor(readonly orders: OperatorOrders) {}

  /** Undefined: another one may be opened. */
  reject(): Rejection | undefined {
    if (this.#open.size < STREAMS_MAX) return undefined;
    return rejection('OVERLOADED', `${STREAMS_MAX} streams of events are open`);
  }

  open(response: ServerResponse, after: number): void {
    // Gone already: its close would not be heard any more.
    if (response.destroyed) return;
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      connection: 'close',
    });
    const write = (text: string) => {
      if (response.destroyed) return;
      response.write(text);
      // It comes back and names the last one that it has.
      if (response.writableLength > BUFFER_BYTES_MAX) response.destroy();
    };
    write('retry: 1000\n\n');
    const unfollow = this.orders.followEvents(after, (event) =>
      write(`id: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`),
    );
    const keepOpen = setInterval(() => write(':\n\n'), KEEP_OPEN_MS);
    this.#open.add(response);
    response.on('error', () => {});
    response.once('close', () => {
      this.#open.delete(response);
      clearInterval(keepOpen);
      unfollow();
    });
  }

  /** Streams never end by themselves. */
  endAll(): void {
    for (const response of this.#open) response.end();
  }
}
