/**
 * Splits the bytes of a gRPC call into its messages, as the library's own decoder does, except that
 * a message over the maximum does not end the call: its bytes are dropped, and OVERSIZED stands for
 * it.
 */

/** Compression flag and length, before each message. */
const PREFIX_BYTES = 5;

/** Stands for a message over the maximum, with a prefix like any other. */
export const OVERSIZED = Buffer.alloc(PREFIX_BYTES);

export class MessageSplitter {
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixBytes = 0;
  /** Bytes of the current message that have not arrived. */
  #missing = 0;
  /** The message that is arriving, with its prefix; undefined: it is dropped. */
  #parts: Buffer[] | undefined;

  constructor(readonly bytesMax: number) {}

  /** Returns the messages that are complete, each with its prefix. */
  write(data: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    for (let at = 0; at < data.length; ) {
      if (this.#prefixBytes < PREFIX_BYTES) {
        const end = at + Math.min(data.length - at, PREFIX_BYTES - this.#prefixBytes);
        this.#prefixBytes += data.copy(this.#prefix, this.#prefixBytes, at, end);
        at = end;
        if (this.#prefixBytes < PREFIX_BYTES) break;
        this.#begin(messages);
      } else {
        const end = at + Math.min(data.length - at, this.#missing);
        this.#parts?.push(data.subarray(at, end));
        this.#missing -= end - at;
        at = end;
      }
      if (this.#missing === 0) this.#finish(messages);
    }
    return messages;
  }

  #begin(messages: Buffer[]): void {
    this.#missing = this.#prefix.readUInt32BE(1);
    if (this.#missing <= this.bytesMax) this.#parts = [Buffer.from(this.#prefix)];
    else messages.push(OVERSIZED);
  }

  #finish(messages: Buffer[]): void {
    if (this.#parts !== undefined) messages.push(Buffer.concat(this.#parts));
    this.#parts = undefined;
    this.#prefixBytes = 0;
  }
}
