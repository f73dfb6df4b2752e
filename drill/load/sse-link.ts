/**
 * One connection of a device, from the first SYN at a router to the end of the stream at an edge:
 * HTTP/1.1 and server-sent events by hand on a raw socket, because the drill resets, half-closes
 * and pauses it, and because nothing between may repair what the system got wrong.
 */
import { connect, type Socket } from 'node:net';

export interface SseLinkHandler {
  /** The answer is 200: events follow. */
  onOpen(edge: string): void;
  onEvent(event: SseEvent): void;
  /** Once, whatever the reason, unless we closed it. */
  onClose(because: string): void;
}

export interface SseEvent {
  readonly name: string;
  readonly messageId: string;
  readonly text: string;
  /** When to come back after the end of the stream, in milliseconds, if it says so. */
  readonly retryMs?: number | undefined;
}

const REDIRECTS_MAX = 5;

export class SseLink {
  readonly #cursor: string;
  readonly #handler: SseLinkHandler;
  #socket!: Socket;
  #edge = '';
  #state: 'head' | 'open' | 'closed' = 'head';
  #redirects = 0;
  #text = '';
  #isPaused = false;
  /** When anything came last, or was asked for; by the monotonic clock. */
  heardAtMs = 0;

  /**
   * @param url of a router or an edge
   * @param cursor sent as Last-Event-ID unless it is ''
   */
  constructor(url: URL, cursor: string, handler: SseLinkHandler) {
    this.#cursor = cursor;
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
    this.heardAtMs = performance.now();
    this.#socket.resume();
  }

  /** Ends it; nothing is heard of it any more. */
  close(how: 'reset' | 'fin'): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    if (how === 'reset') this.#socket.resetAndDestroy();
    else this.#socket.end(() => this.#socket.destroy());
  }

  #dial(url: URL): void {
    const socket = connect({ host: url.hostname, port: Number(url.port), family: 4 });
    this.#socket = socket;
    this.#edge = url.host;
    this.#text = '';
    this.heardAtMs = performance.now();
    socket.setEncoding('utf8');
    socket.setNoDelay(true);
    const lastEventId = this.#cursor === '' ? '' : `Last-Event-ID: ${this.#cursor}\r\n`;
    socket.write(
      `GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\n` +
        `Accept: text/event-stream\r\n${lastEventId}\r\n`,
    );
    socket.on('data', (text: string) => this.#socket === socket && this.#onText(text));
    let because = 'ended by the edge';
    socket.on('error', (error: NodeJS.ErrnoException) => {
      because = error.code ?? error.message;
    });
    socket.on('close', () => this.#socket === socket && this.#lose(because));
  }

  #onText(text: string): void {
    if (this.#state === 'closed') return;
    this.heardAtMs = performance.now();
    this.#text += text;
    if (this.#state === 'head' && !this.#readHead()) return;
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

  /** Returns whether events may follow. */
  #readHead(): boolean {
    const end = this.#text.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const head = this.#text.slice(0, end);
    const status = head.slice(9, 12);
    const location = /^location: (.*)$/im.exec(head)?.[1];
    if (status === '200') {
      this.#text = this.#text.slice(end + 4);
      this.#state = 'open';
      this.#handler.onOpen(this.#edge);
      return true;
    }
    const old = this.#socket;
    if (status === '307' && location !== undefined && this.#redirects++ < REDIRECTS_MAX) {
      this.#dial(new URL(location));
    } else {
      this.#lose(`answered ${status}`);
    }
    old.destroy();
    return false;
  }

  /** One event, or a comment. HTML §9.2.6, as far as our server goes. */
  #onBlock(block: string): void {
    let name = 'message';
    let messageId = '';
    let retryMs: number | undefined;
    const data: string[] = [];
    for (const line of block.split('\n')) {
      if (line.startsWith('data: ')) data.push(line.slice(6));
      else if (line.startsWith('id: ')) messageId = line.slice(4);
      else if (line.startsWith('event: ')) name = line.slice(7);
      else if (line.startsWith('retry: ')) retryMs = Number(line.slice(7));
    }
    if (data.length === 0) return;
    this.#handler.onEvent({ name, messageId, text: data.join('\n'), retryMs });
  }

  #lose(because: string): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#socket.destroy();
    this.#handler.onClose(because);
  }
}
