/**
 * A device that behaves: it asks the router where it belongs, connects there, and whenever that
 * ends, asks again, with the newest id that it has.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ReceivedEvent, SseClient } from './sse-client.js';

/** Long enough not to hammer a cluster that is healing, short enough for a test. */
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 400;

export class Device {
  /** Everything that came, over all connections. */
  readonly events: ReceivedEvent[] = [];
  /** Connections that it has had. */
  connections = 0;
  #lastId = '';
  #stream: SseClient | undefined;
  #isClosed = false;
  readonly #loop: Promise<void>;

  /** @param connectUrl of the router, with the clientId */
  constructor(
    readonly clientId: string,
    readonly connectUrl: string,
  ) {
    this.#loop = this.#run();
  }

  /** The edge that it is connected to; undefined while it is not. */
  get connectedTo(): string | undefined {
    return this.#stream?.isOpen ? new URL(this.#stream.url).origin : undefined;
  }

  /** The data of what was pushed, each durable push once: a repeat has an id that came before. */
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
        // Nobody there, or nobody owns the shard at the moment: asked again below.
      }
      if (!this.#isClosed) {
        await sleep(RETRY_MS_MIN + Math.random() * (RETRY_MS_MAX - RETRY_MS_MIN));
      }
    }
  }
}
