/** The send window of a connection, which all of its streams share (RFC 9113 §5.2). */
import { ERROR, Http2Error, WINDOW_BYTES, WINDOW_BYTES_MAX } from './protocol.js';

/** Waits for the window of its connection. */
export interface BlockedSender {
  /** Sends at most one frame. Returns whether it waits for more of the window. */
  sendNext(): boolean;
}

export class SendWindow {
  #bytes = WINDOW_BYTES;
  /** Each sends a frame in turn. */
  readonly #blocked: BlockedSender[] = [];

  get bytes(): number {
    return this.#bytes;
  }

  take(bytes: number): void {
    this.#bytes -= bytes;
  }

  wait(sender: BlockedSender): void {
    this.#blocked.push(sender);
  }

  /** @throws Http2Error for a window that is too large (§6.9.1) */
  open(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > WINDOW_BYTES_MAX) {
      throw new Http2Error(ERROR.flowControl, 'the window of the connection is larger than 2^31-1');
    }
    while (this.#bytes > 0) {
      const sender = this.#blocked.shift();
      if (sender === undefined) return;
      if (sender.sendNext()) this.#blocked.push(sender);
    }
  }
}
