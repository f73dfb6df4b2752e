/**
 * What one stream of pushes may hold in memory: pushes without a verdict, or whose result the
 * caller has not read, and the bytes of their payloads and of messages that wait. Pure.
 */

/** Maximum pushes that await a verdict, or whose result the caller has not read. */
const PUSHES_MAX = 8_192;

export class StreamBounds {
  #pushes = 0;
  #bytes = 0;
  #isReadDelayed = false;

  /** @param read reads on, after `mayRead` has returned false */
  constructor(
    readonly bytesMax: number,
    readonly read: () => void,
  ) {}

  /** Whether another message may be read now. If not, `read` is called when it may. */
  mayRead(): boolean {
    const mayRead = this.#pushes < PUSHES_MAX && this.#bytes < this.bytesMax;
    if (!mayRead) this.#isReadDelayed = true;
    return mayRead;
  }

  hold(pushes: number, bytes: number): void {
    this.#pushes += pushes;
    this.#bytes += bytes;
  }

  /** Reading resumes at half of the bounds, not push by push. */
  release(pushes: number, bytes: number): void {
    this.#pushes -= pushes;
    this.#bytes -= bytes;
    if (!this.#isReadDelayed) return;
    if (this.#pushes > PUSHES_MAX / 2 || this.#bytes > this.bytesMax / 2) return;
    this.#isReadDelayed = false;
    this.read();
  }
}
