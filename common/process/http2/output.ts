/**
 * The bytes that a connection is about to write: all of one turn of the event loop in one write.
 */
import type { Socket } from 'node:net';

const BUFFER_BYTES = 4_096;
/** Written without waiting for the end of the turn. */
const FLUSH_BYTES = 65_536;
/** Above this the peer reads too slowly, and nothing more is read from it. */
const UNSENT_BYTES_MAX = 262_144;

export class Output {
  #buffer = Buffer.alloc(0);
  #bytes = 0;
  #isScheduled = false;

  /**
   * @param onFull called when the peer reads too slowly; the socket emits `drain` when it has read
   */
  constructor(
    readonly socket: Socket,
    readonly onFull: () => void,
  ) {}

  get buffer(): Buffer {
    return this.#buffer;
  }

  /**
   * Reserves bytes, and returns their position in `buffer`. They are to be written before the next
   * call.
   */
  reserve(bytes: number): number {
    if (this.#bytes >= FLUSH_BYTES) this.flush();
    const at = this.#bytes;
    this.#bytes += bytes;
    if (this.#bytes > this.#buffer.length) this.#grow(at);
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(this.#onTurnEnd);
    }
    return at;
  }

  write(bytes: Uint8Array): void {
    const at = this.reserve(bytes.length);
    this.#buffer.set(bytes, at);
  }

  flush(): void {
    const { socket } = this;
    const bytes = this.#buffer.subarray(0, this.#bytes);
    this.#bytes = 0;
    if (bytes.length === 0 || !socket.writable) return;
    socket.write(bytes);
    // Unless the kernel has all of it, the socket keeps the buffer.
    if (socket.writableLength > 0) this.#buffer = Buffer.alloc(0);
    if (socket.writableLength > UNSENT_BYTES_MAX) this.onFull();
  }

  readonly #onTurnEnd = () => {
    this.#isScheduled = false;
    this.flush();
  };

  #grow(filled: number): void {
    const buffer = Buffer.allocUnsafeSlow(Math.max(BUFFER_BYTES, 2 * this.#bytes));
    this.#buffer.copy(buffer, 0, 0, filled);
    this.#buffer = buffer;
  }
}
