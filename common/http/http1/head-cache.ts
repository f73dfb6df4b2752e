/**
 * Heads that were parsed already, by their text. The heads of one client hardly differ, except in
 * the length of the body, and to parse one costs as much as all other work on a request besides its
 * system calls.
 */
import { findHeadEnd, type HttpHead, readHead } from '../../wire/http-head.js';

const HEAD_BYTES_MAX = 8_192;
/** Larger heads are not kept; all are forgotten when there are too many. */
const KEPT_BYTES_MAX = 1_024;
const KEPT_MAX = 1_024;

export class HeadCache {
  readonly #heads = new Map<string, HttpHead>();

  /** As `readHead`. */
  read(bytes: Buffer, searched: number): ReturnType<typeof readHead> {
    // Not the requests behind the head: they would be searched again and again.
    const start = bytes.subarray(0, HEAD_BYTES_MAX + 1);
    const byteLength = findHeadEnd(start, searched);
    if (byteLength < 0 || byteLength > KEPT_BYTES_MAX) {
      return readHead(start, searched, HEAD_BYTES_MAX);
    }
    const text = start.toString('latin1', 0, byteLength);
    const head = this.#heads.get(text);
    if (head !== undefined) return { head, byteLength };
    const read = readHead(start, searched, HEAD_BYTES_MAX);
    if (read !== 'more' && 'head' in read) this.#keep(text, read.head);
    return read;
  }

  #keep(text: string, head: HttpHead): void {
    if (this.#heads.size >= KEPT_MAX) this.#heads.clear();
    this.#heads.set(text, head);
  }
}
