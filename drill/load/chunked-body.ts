/**
 * Decoder for a body in chunked transfer coding (RFC 9112 §7.1). It is strict and shares no code
 * with the edge, so that a chunk with a wrong size ends the connection of the drill's device.
 */

const SIZE = /^[0-9a-f]{1,8}$/;
const CRLF = Buffer.from('\r\n');

export class ChunkedBody {
  /** A part of a chunk. */
  #rest: Buffer = Buffer.alloc(0);
  #isEnded = false;

  /** Whether the last chunk has arrived. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /**
   * Returns the data of the chunks that are complete.
   * @throws Error for bytes that are not in the coding
   */
  decode(bytes: Buffer): Buffer {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    const decoded: Buffer[] = [];
    for (let data = this.#take(); data !== undefined; data = this.#take()) decoded.push(data);
    return Buffer.concat(decoded);
  }

  #take(): Buffer | undefined {
    if (this.#isEnded && this.#rest.length > 0) throw new Error('bytes follow the last chunk');
    const sizeEnd = this.#rest.indexOf(CRLF);
    if (sizeEnd < 0) return undefined;
    const size = this.#rest.toString('latin1', 0, sizeEnd);
    if (!SIZE.test(size)) throw new Error(`${JSON.stringify(size)} is not the size of a chunk`);
    const start = sizeEnd + CRLF.length;
    const end = start + Number.parseInt(size, 16);
    if (this.#rest.length < end + CRLF.length) return undefined;
    if (!this.#rest.subarray(end, end + CRLF.length).equals(CRLF)) {
      throw new Error('a chunk does not end with a line break');
    }
    const data = this.#rest.subarray(start, end);
    this.#rest = this.#rest.subarray(end + CRLF.length);
    this.#isEnded = data.length === 0;
    return data;
  }
}
