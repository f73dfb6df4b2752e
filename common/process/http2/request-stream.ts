/** A request that this side answers, and its response. */
import type { Output } from './output.js';
import {
  ERROR,
  FLAG,
  FRAME,
  FRAME_BYTES_MAX,
  FRAME_HEAD_BYTES,
  frameOf,
  uint32Payload,
  WINDOW_BYTES,
  WINDOW_BYTES_MAX,
  writeFrameHead,
} from './protocol.js';
import type { SendWindow } from './send-window.js';

/** The parts of a connection that its streams use. */
export interface StreamHost {
  readonly output: Output;
  readonly sendWindow: SendWindow;
  hasResponded: boolean;
  /** @param isReset this side has sent RST_STREAM */
  onStreamClosed(streamId: number, isReset: boolean): void;
}

/** Receives the request. */
export interface RequestListener {
  /** @param bytes valid during the call */
  onData(bytes: Buffer): void;
  /** The request is complete. */
  onEnd(): void;
  /** Called once: the response was sent, or one side has given up. */
  onClose(): void;
}

const NO_BYTES: Buffer = Buffer.alloc(0);

export class RequestStream {
  listener: RequestListener | undefined;
  #isClosed = false;
  #isRequestEnded = false;
  #receiveWindow = WINDOW_BYTES;
  /** The part of the response that waits for a window, and the trailers after it. */
  #unsent = NO_BYTES;
  #trailers: Buffer | undefined;
  #isBlocked = false;

  /** @param sendWindow as the client's settings have it */
  constructor(
    readonly id: number,
    readonly host: StreamHost,
    private sendWindow: number,
  ) {}

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Sends a whole response; blocks are encoded headers.
   * @param body of one piece, which is kept until it is sent
   */
  respond(head: Buffer, body: Buffer, trailers: Buffer): void {
    if (this.#isClosed) return;
    const { output, sendWindow } = this.host;
    const length = body.length;
    if (length > this.sendWindow || length > sendWindow.bytes || length > FRAME_BYTES_MAX) {
      output.write(frameOf(FRAME.headers, FLAG.endHeaders, this.id, head));
      this.#unsent = body;
      this.#trailers = trailers;
      this.#send();
      return;
    }
    sendWindow.take(length);
    let at = output.reserve(3 * FRAME_HEAD_BYTES + head.length + length + trailers.length);
    const { buffer } = output;
    at = writeFrameHead(buffer, at, head.length, FRAME.headers, FLAG.endHeaders, this.id);
    at += head.copy(buffer, at);
    at = writeFrameHead(buffer, at, length, FRAME.data, 0, this.id);
    at += body.copy(buffer, at);
    const flags = FLAG.endHeaders | FLAG.endStream;
    at = writeFrameHead(buffer, at, trailers.length, FRAME.headers, flags, this.id);
    trailers.copy(buffer, at);
    this.#finish();
  }

  /** Sends a response without a body. */
  respondEmpty(head: Buffer): void {
    if (this.#isClosed) return;
    const flags = FLAG.endHeaders | FLAG.endStream;
    this.host.output.write(frameOf(FRAME.headers, flags, this.id, head));
    this.#finish();
  }

  reset(code: number): void {
    if (this.#isClosed) return;
    this.host.output.write(frameOf(FRAME.rstStream, 0, this.id, uint32Payload(code)));
    this.close(true);
  }

  /** @param isReset this side has sent RST_STREAM */
  close(isReset = false): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#unsent = NO_BYTES;
    this.host.onStreamClosed(this.id, isReset);
    this.listener?.onClose();
  }

  /** @param frameBytes of the window, padding included */
  onData(bytes: Buffer, frameBytes: number, isEnd: boolean): void {
    if (this.#isRequestEnded) return this.reset(ERROR.streamClosed); // §5.1
    this.#receiveWindow -= frameBytes;
    if (this.#receiveWindow < 0) return this.reset(ERROR.flowControl);
    if (bytes.length > 0) this.listener?.onData(bytes);
    if (isEnd) return this.onEnd();
    if (this.#isClosed || this.#receiveWindow > WINDOW_BYTES / 2) return;
    const increment = uint32Payload(WINDOW_BYTES - this.#receiveWindow);
    this.host.output.write(frameOf(FRAME.windowUpdate, 0, this.id, increment));
    this.#receiveWindow = WINDOW_BYTES;
  }

  onEnd(): void {
    if (this.#isRequestEnded) return this.reset(ERROR.streamClosed);
    this.#isRequestEnded = true;
    this.listener?.onEnd();
  }

  /** @param change may be negative (§6.9.2) */
  openWindow(change: number): void {
    this.sendWindow += change;
    if (this.sendWindow > WINDOW_BYTES_MAX) return this.reset(ERROR.flowControl);
    if (this.#unsent.length > 0 && !this.#isBlocked) this.#send();
  }

  /** Called by `SendWindow`. */
  sendNext(): boolean {
    this.#isBlocked = false;
    if (this.#isClosed) return false;
    const { output, sendWindow } = this.host;
    const length = Math.min(
      this.#unsent.length,
      this.sendWindow,
      sendWindow.bytes,
      FRAME_BYTES_MAX,
    );
    if (length > 0) {
      this.sendWindow -= length;
      sendWindow.take(length);
      output.write(frameOf(FRAME.data, 0, this.id, this.#unsent.subarray(0, length)));
      this.#unsent = this.#unsent.subarray(length);
    }
    if (this.#unsent.length === 0) {
      const trailers = this.#trailers!;
      const flags = FLAG.endHeaders | FLAG.endStream;
      output.write(frameOf(FRAME.headers, flags, this.id, trailers));
      this.#finish();
      return false;
    }
    this.#isBlocked = this.sendWindow > 0;
    return this.#isBlocked;
  }

  #send(): void {
    while (this.sendNext()) {
      if (this.host.sendWindow.bytes > 0) continue;
      this.host.sendWindow.wait(this);
      return;
    }
  }

  /** The response is complete; a client that still sends its request is told to stop (§8.1). */
  #finish(): void {
    this.host.hasResponded = true;
    if (this.#isRequestEnded) this.close();
    else this.reset(ERROR.none);
  }
}
