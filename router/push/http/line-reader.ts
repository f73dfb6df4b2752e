/** Splits a body into lines of bounded length (NDJSON). */
import { BodyBuffer } from '../../../common/http/http1/body-buffer.js';

const LF = 0x0a;
const BLANK = /^[\t\r ]*$/;

export class LineReader {
  readonly #held = new BodyBuffer();
  /** The rest of a line that was too long is skipped. */
  #isSkipping = false;

  /** @param onLine called with each line that is not blank; undefined: it was too long */
  constructor(
    readonly bytesMax: number,
    readonly onLine: (line: Buffer | undefined) => void,
  ) {}

  read(bytes: Buffer): void {
    let start = 0;
    for (let end = bytes.indexOf(LF); end >= 0; end = bytes.indexOf(LF, start)) {
      this.#take(bytes.subarray(start, end), true);
      start = end + 1;
    }
    if (start < bytes.length) this.#take(bytes.subarray(start), false);
  }

  /** The last line need not end with a line feed. */
  end(): void {
    this.#take(Buffer.alloc(0), true);
  }

  #take(part: Buffer, isEnd: boolean): void {
    if (!this.#isSkipping && this.#held.length + part.length > this.bytesMax) {
      this.#isSkipping = true;
      this.#held.take();
      this.onLine(undefined);
    }
    if (!this.#isSkipping) {
      if (!isEnd) return this.#held.append(part);
      const line = this.#held.take(part);
      if (!isBlank(line)) this.onLine(line);
    }
    if (isEnd) this.#isSkipping = false;
  }
}

function isBlank(line: Buffer): boolean {
  return line.length === 0 || (line[0]! <= 0x20 && BLANK.test(line.toString('latin1')));
}
