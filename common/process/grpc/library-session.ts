/** A connection that the library of gRPC has for itself, as `Connection` wants it. */
import type { ServerHttp2Session } from 'node:http2';
import type { Session } from './connection.js';

/** More bytes between two pings than the answer to one: a message was sent. */
const PING_ANSWER_BYTES = 17;

export class LibrarySession implements Session {
  onPing = () => {};
  /** Node.js ends such connections without an error. */
  onError = () => {};
  #bytesSent = 0;

  constructor(readonly session: ServerHttp2Session) {
    session.on('ping', () => this.onPing());
  }

  get destroyed(): boolean {
    return this.session.destroyed;
  }

  hasSentMore(): boolean {
    const bytes = this.session.socket.bytesWritten;
    const hasSentMore = bytes - this.#bytesSent > PING_ANSWER_BYTES;
    this.#bytesSent = bytes;
    return hasSentMore;
  }

  /** Node sends no pings once either side is closing, but settings, which are answered as well. */
  ping(onAnswer: () => void): void {
    if (this.session.closed) this.session.settings({}, onAnswer);
    else this.session.ping(onAnswer);
  }

  goaway(code: number, text: string): void {
    this.session.goaway(code, 0, Buffer.from(text));
  }

  close(): void {
    this.session.close();
  }

  destroy(): void {
    this.session.destroy();
  }
}
