/**
 * Collects bytes that arrive in parts. All but the first are copied: many parts of one byte would
 * each keep a whole read in memory.
 */
const CAPACITY_MIN = 4_096;
const NO_BYTES: Buffer = Buffer.alloc(0);

export class BodyBuffer {
  #bytes: Buffer = NO_BYTES;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(part: Buffer): void {
    const length = this.#length + part.length;
    if (this.#length === 0) {
      this.#bytes = part;
      this.#length = length;
      return;
    }
    if (length > this.#bytes.length) this.#grow(length);
    part.copy(this.#bytes, this.#length);
    this.#length = length;
  }

  /** Returns the bytes together with a last part, and is empty then. */
  take(last: Buffer = NO_BYTES): Buffer {
    if (this.#length === 0) return last;
    this.append(last);
    const bytes = this.#bytes.subarray(0, this.#length);
    this.#bytes = NO_BYTES;
    this.#length = 0;
    return bytes;
  }

  #grow(length: number): void {
    const grown = Buffer.allocUnsafe(Math.max(CAPACITY_MIN, length, 2 * this.#bytes.length));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}
