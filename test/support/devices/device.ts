/**
 * A well-behaved device: queries the router for its edge, connects there, and after each disconnect
 * queries the router again, with the newest id that it received.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ReceivedEvent, SseClient } from './sse-client.js';

/** Long enough not to overload a recovering cluster, short enough for a test. */
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 400;

export class Device {
  /** All events over all connections. */
  readonly events: ReceivedEvent[] = [];
  /** Number of connections opened. */
  connections = 0;
  #lastId = '';
  #stream: SseClient | undefined;
  #isClosed = false;
  readonly #loop: Promise<void>;

  /** @param connectUrl `/connect` of the router, with the clientId */
  constructor(
    readonly clientId: string,
    readonly connectUrl: string,
  ) {
    this.#loop = this.#run();
  }

  /** Origin of the edge; undefined while disconnected. */
  get connectedTo(): string | undefined {
    return this.#stream?.isOpen ? new URL(this.#stream.url).origin : undefined;
  }

  /** Payloads of pushes, without repeats, which have an id that was received before. */
  get received(): string[] {
    const seen = new Set<string>();
    return this.events.flatMap(({ event, id, data }) => {
      if (event !== 'message' || seen.has(id)) return [];
      if (id !== '') seen.add(id);
      return [data];
    });
  }

  has(event: string): boolean {
    return this.events.some((received) => received.event === event);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stream?.close();
    await this.#loop;
  }

  async #run(): Promise<void> {
    while (!this.#isClosed) {
      const headers: Record<string, string> =
        this.#lastId === '' ? {} : { 'last-event-id': this.#lastId };
      const onEvent = (received: ReceivedEvent) => {
        this.events.push(received);
        if (received.id !== '') this.#lastId = received.id;
      };
      try {
        this.#stream = await SseClient.open(this.connectUrl, { headers, onEvent });
        this.connections++;
        if (this.#isClosed) this.#stream.close();
        await this.#stream.ended;
      } catch {
        // The router is down or the shard has no owner at the moment: retries below.
      }
      if (!this.#isClosed) {
        await sleep(RETRY_MS_MIN + Math.random() * (RETRY_MS_MAX - RETRY_MS_MIN));
      }
    }
  }
}
