/**
 * One connection of a device, from the first SYN at a router to the end of the stream at an edge:
 * HTTP/1.1 and server-sent events on a raw socket, because the drill resets, half-closes and pauses
 * it, and because a client library could hide errors of the system under test.
 */
import type { Socket } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { ChunkedBody } from './chunked-body.js';
import { type Link, type LinkHandler, openSocket } from './link.js';

export interface SseLinkOptions {
  /** Source address; chosen by the kernel by default. */
  readonly sourceHost?: string | undefined;
  /** Bearer token for the first request. A redirect has a ticket in its URL. */
  readonly token?: string | undefined;
}

const REDIRECTS_MAX = 5;
const NO_BYTES = Buffer.alloc(0);
const HEAD_END = '\r\n\r\n';

export class SseLink implements Link {
  readonly #cursor: string;
  readonly #options: SseLinkOptions;
  readonly #handler: LinkHandler;
  #socket!: Socket;
  #edge = '';
  #state: 'head' | 'open' | 'closed' = 'head';
  #redirects = 0;
  /** Bytes of the response head that have arrived. */
  #head: Buffer = NO_BYTES;
  /** Undefined for a body that ends with the connection. */
  #chunked: ChunkedBody | undefined;
  #decoder = new StringDecoder('utf8');
  /** Text of the event that is not complete yet. */
  #text = '';
  #isPaused = false;
  /** Time of the last bytes, or of the request; by the monotonic clock. */
  activeAtMs = 0;

  /**
   * @param url of a router or an edge
   * @param cursor value of the Last-Event-ID header; '' for no header
   */
  constructor(url: URL, cursor: string, options: SseLinkOptions, handler: LinkHandler) {
    this.#cursor = cursor;
    this.#options = options;
    this.#handler = handler;
    this.#dial(url);
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.activeAtMs = performance.now();
    this.#socket.resume();
  }

  /** Closes the connection; the handler is not called any more. */
  close(how: 'reset' | 'fin'): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    if (how === 'reset') this.#socket.resetAndDestroy();
    else this.#socket.end(() => this.#socket.destroy());
  }

  #dial(url: URL): void {
    const { sourceHost, token } = this.#options;
    const socket = openSocket(url, sourceHost);
    this.#socket = socket;
    this.#edge = url.host;
    this.#head = NO_BYTES;
    this.activeAtMs = performance.now();
    socket.setNoDelay(true);
    const lastEventId = this.#cursor === '' ? '' : `Last-Event-ID: ${this.#cursor}\r\n`;
    const bearer =
      token === undefined || this.#redirects > 0 ? '' : `Authorization: Bearer ${token}\r\n`;
    socket.write(
      `GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\n` +
        `Accept: text/event-stream\r\n${bearer}${lastEventId}\r\n`,
    );
    socket.on('data', (bytes: Buffer) => this.#socket === socket && this.#onBytes(bytes));
    let reason = 'ended by the edge';
    socket.on('error', (error: NodeJS.ErrnoException) => {
      reason = error.code ?? error.message;
    });
    socket.on('close', () => this.#socket === socket && this.#closed(reason));
  }

  #onBytes(bytes: Buffer): void {
    if (this.#state === 'closed') return;
    this.activeAtMs = performance.now();
    const body = this.#state === 'head' ? this.#readHead(bytes) : bytes;
    if (body === undefined) return;
    try {
      this.#text += this.#decoder.write(this.#chunked?.decode(body) ?? body);
    } catch (error) {
      return this.#closed((error as Error).message);
    }
    this.#readEvents();
  }

  #readEvents(): void {
    let start = 0;
    for (
      let end = this.#text.indexOf('\n\n');
      end >= 0 && this.isOpen;
      end = this.#text.indexOf('\n\n', start)
    ) {
      this.#onBlock(this.#text.slice(start, end));
      start = end + 2;
    }
    this.#text = this.#text.slice(start);
  }

  /** Returns the first bytes of the body, or undefined if no event can follow yet. */
  #readHead(bytes: Buffer): Buffer | undefined {
    this.#head = Buffer.concat([this.#head, bytes]);
    const end = this.#head.indexOf(HEAD_END);
    if (end < 0) return undefined;
    const head = this.#head.toString('latin1', 0, end);
    const status = head.slice(9, 12);
    const location = /^location: (.*)$/im.exec(head)?.[1];
    if (status === '200') {
      const isChunked = /^transfer-encoding: chunked$/im.test(head);
      this.#chunked = isChunked ? new ChunkedBody() : undefined;
      this.#state = 'open';
      this.#handler.onOpen(this.#edge);
      return this.#head.subarray(end + HEAD_END.length);
    }
    const previous = this.#socket;
    if (status === '307' && location !== undefined && this.#redirects++ < REDIRECTS_MAX) {
      this.#dial(new URL(location));
    } else {
      this.#closed(`answered ${status}`);
    }
    previous.destroy();
    return undefined;
  }

  /** Parses one event or comment (HTML §9.2.6), as far as edges use the format. */
  #onBlock(block: string): void {
    let name = 'message';
    let messageId = '';
    let retryMs: number | undefined;
    const data: string[] = [];
    for (const line of block.split('\n')) {
      if (line.startsWith('data: ')) data.push(line.slice(6));
      else if (line.startsWith('id: ')) messageId = copyOf(line.slice(4));
      else if (line.startsWith('event: ')) name = line.slice(7);
      else if (line.startsWith('retry: ')) retryMs = Number(line.slice(7));
    }
    if (data.length === 0) return;
    this.#handler.onEvent({ name, messageId, text: data.join('\n'), retryMs });
  }

  #closed(reason: string): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#socket.destroy();
    this.#handler.onClose(reason);
  }
}

/** A slice keeps all the text that it is a part of, and the history keeps a million ids. */
function copyOf(text: string): string {
  return Buffer.from(text).toString();
}
