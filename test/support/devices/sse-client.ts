/** A connection of a device for server-sent events, which collects all events. */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { request as requestOverTls } from 'node:https';
import { text } from 'node:stream/consumers';
import { createParser } from 'eventsource-parser';
import { eventually } from '../eventually.js';

export interface ReceivedEvent {
  /** Default: `message`. */
  readonly event: string;
  /** Empty if the event has no id. */
  readonly id: string;
  readonly data: string;
}

export interface SseOptions {
  readonly headers?: Record<string, string>;
  /** Receives each event on arrival. */
  readonly onEvent?: (event: ReceivedEvent) => void;
}

/** Thrown for a response other than 200. */
export class NotAStream extends Error {
  constructor(
    readonly status: number,
    readonly location: string | undefined,
    readonly body: string,
  ) {
    super(`the response is ${status}, not a stream: ${body}`);
  }
}

const REDIRECTS_MAX = 5;
const RESPONSE_DEADLINE_MS = 20_000;

export class SseClient {
  readonly events: ReceivedEvent[] = [];
  /** The last `retry:` of the server, in milliseconds. */
  retryMs: number | undefined;
  isOpen = true;
  /** Resolves when the stream ends, also after an error. */
  readonly ended: Promise<void>;

  private constructor(
    readonly response: IncomingMessage,
    /** Final URL after redirects. */
    readonly url: string,
    onEvent: SseOptions['onEvent'],
  ) {
    const parser = createParser({
      onEvent: ({ event = 'message', id = '', data }) => {
        const received = { event, id, data };
        this.events.push(received);
        onEvent?.(received);
      },
      onRetry: (ms) => {
        this.retryMs = ms;
      },
      onError: (error) => {
        throw error;
      },
    });
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => parser.feed(chunk));
    response.on('error', () => {});
    // Not `once` of Node.js: it rejects after an error, such as a chunked body that was cut.
    this.ended = new Promise((resolve) => {
      response.once('close', () => {
        this.isOpen = false;
        resolve();
      });
    });
  }

  /**
   * Follows redirects. Resolves when the server has responded with a stream.
   * @throws NotAStream for any other response
   */
  static async open(url: string, options: SseOptions = {}): Promise<SseClient> {
    let target = url;
    for (let redirects = 0; ; redirects++) {
      const answer = await SseClient.openOnce(target, options).catch((error) => error);
      if (answer instanceof SseClient) return answer;
      const isRedirect = answer instanceof NotAStream && answer.location !== undefined;
      if (!isRedirect || redirects === REDIRECTS_MAX) throw answer;
      target = answer.location!;
    }
  }

  /** Like `open`, but does not follow redirects. */
  static async openOnce(url: string, { onEvent, ...given }: SseOptions = {}): Promise<SseClient> {
    const giveUp = new AbortController();
    const deadline = setTimeout(() => giveUp.abort(), RESPONSE_DEADLINE_MS);
    try {
      const headers = { accept: 'text/event-stream', ...given.headers };
      const options = { headers, agent: false, signal: giveUp.signal } as const;
      const call = url.startsWith('https:')
        ? requestOverTls(url, { ...options, rejectUnauthorized: false })
        : request(url, options);
      call.end();
      const [response] = (await once(call, 'response')) as [IncomingMessage];
      call.on('error', () => {});
      if (response.statusCode === 200) return new SseClient(response, url, onEvent);
      const { location } = response.headers;
      throw new NotAStream(response.statusCode!, location, await text(response));
    } finally {
      clearTimeout(deadline);
    }
  }

  /** Data of pushes, without control events such as `reset`. */
  get data(): string[] {
    return this.events.filter(({ event }) => event === 'message').map(({ data }) => data);
  }

  get ids(): string[] {
    return this.events.filter(({ id }) => id !== '').map(({ id }) => id);
  }

  /** Resolves when at least `count` events have been received in total. */
  async until(count: number): Promise<ReceivedEvent[]> {
    await eventually(() => {
      if (this.events.length >= count) return true;
      throw new Error(`received ${this.events.length} of ${count} events`);
    });
    return this.events;
  }

  close(): void {
    this.response.destroy();
  }
}
