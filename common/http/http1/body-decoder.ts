/** Delimits the body of a request: by its length, or in chunks (RFC 9112 §6, §7.1). */
import { type Rejection, rejection } from '../../process/errors.js';

/** Takes the body of a request, in parts. */
export interface BodySink {
  onData(bytes: Buffer): void;
  onEnd(): void;
  /** The rest cannot be read, or did not come in time. */
  onMalformed(rejected: Rejection): void;
}

/**
 * `data` bytes of the body · `chunkEnd` the line end after a chunk · `size` the line before a chunk
 * · `trailers` lines after the last chunk, which are ignored · `complete`
 */
type State = 'data' | 'chunkEnd' | 'size' | 'trailers' | 'complete';

const LF = 0x0a;
/** Maximum line with a size and its extensions, which are ignored. */
const LINE_BYTES_MAX = 256;
const TRAILERS_BYTES_MAX = 8_192;
const SIZE_LINE = /^([0-9a-f]{1,8})[\t ]*(?:;[^\r\n]*)?\r\n$/i;

export class BodyDecoder {
  #state: State;
  /** Bytes of `data` to come. */
  #left: number;
  /** The line as far as it has arrived. */
  #line = '';
  #trailersBytes = 0;
  readonly #isChunked: boolean;

  /** @param length at least 1; undefined: the body is chunked */
  constructor(
    length: number | undefined,
    readonly sink: BodySink,
  ) {
    this.#state = length === undefined ? 'size' : 'data';
    this.#left = length ?? 0;
    this.#isChunked = length === undefined;
  }

  get isComplete(): boolean {
    return this.#state === 'complete';
  }

  /** Returns how many of the bytes belong to the body, or why it is malformed. */
  read(bytes: Buffer): number | Rejection {
    let at = 0;
    while (at < bytes.length && this.#state !== 'complete') {
      if (this.#state === 'data') at += this.#readData(bytes, at);
      else {
        const lineEnd = bytes.indexOf(LF, at);
        const end = lineEnd < 0 ? bytes.length : lineEnd + 1;
        this.#line += bytes.toString('latin1', at, end);
        at = end;
        if (this.#line.length > LINE_BYTES_MAX) return malformed('a line of it is too long');
        const rejected = lineEnd < 0 ? undefined : this.#onLine();
        if (rejected !== undefined) return rejected;
      }
    }
    return at;
  }

  #readData(bytes: Buffer, at: number): number {
    const part = bytes.subarray(at, at + this.#left);
    this.#left -= part.length;
    if (this.#left === 0) this.#state = this.#isChunked ? 'chunkEnd' : 'complete';
    this.sink.onData(part);
    return part.length;
  }

  #onLine(): Rejection | undefined {
    const line = this.#line;
    this.#line = '';
    if (this.#state === 'size') return this.#onSize(line);
    if (this.#state === 'chunkEnd') {
      if (line !== '\r\n') return malformed('a chunk does not end with CR LF');
      this.#state = 'size';
      return undefined;
    }
    this.#trailersBytes += line.length;
    if (this.#trailersBytes > TRAILERS_BYTES_MAX) return malformed('its trailers are too long');
    if (line === '\r\n') this.#state = 'complete';
    return undefined;
  }

  #onSize(line: string): Rejection | undefined {
    const size = SIZE_LINE.exec(line)?.[1];
    if (size === undefined) return malformed('the size of a chunk is invalid');
    this.#left = Number.parseInt(size, 16);
    this.#state = this.#left === 0 ? 'trailers' : 'data';
    return undefined;
  }
}

function malformed(problem: string): Rejection {
  return rejection('REQUEST_MALFORMED', `the chunked body cannot be read: ${problem}`);
}
