/** Takes the body of one request: bounded, and with room in memory for it. */
import { BodyBuffer } from '../../../common/http/http1/body-buffer.js';
import type { BodySink } from '../../../common/http/http1/body-decoder.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { MemoryWatch } from '../../../common/process/memory/memory-watch.js';

/** Memory for smaller bodies is not reserved. */
const SMALL_BYTES = 64 * 1024;

export class JsonBody implements BodySink {
  readonly #buffer = new BodyBuffer();
  #reserved = 0;

  constructor(
    readonly bytesMax: number,
    readonly memory: Pick<MemoryWatch, 'reserve' | 'release'>,
    readonly onBody: (bytes: Buffer) => void,
    readonly onRejected: (rejected: Rejection) => void,
  ) {}

  /** To be called with the size that a request announces, before its body. */
  rejectSize(bytes: number): Rejection | undefined {
    if (bytes > this.bytesMax) {
      const message = `the body is larger than ${this.bytesMax} bytes, the maximum`;
      return rejection('PAYLOAD_TOO_LARGE', message);
    }
    const more = bytes - this.#reserved;
    if (more <= SMALL_BYTES) return undefined;
    if (!this.memory.reserve(more)) {
      const message = 'the process is short of memory; retry later, or through another one';
      return rejection('OVERLOADED', message);
    }
    this.#reserved += more;
    return undefined;
  }

  onData(bytes: Buffer): void {
    const rejected = this.rejectSize(this.#buffer.length + bytes.length);
    if (rejected === undefined) this.#buffer.append(bytes);
    else this.onMalformed(rejected);
  }

  onEnd(): void {
    this.release();
    this.onBody(this.#buffer.take());
  }

  onMalformed(rejected: Rejection): void {
    this.release();
    this.onRejected(rejected);
  }

  /** Gives back what is reserved; also when the connection has ended. */
  release(): void {
    if (this.#reserved > 0) this.memory.release(this.#reserved);
    this.#reserved = 0;
  }
}
