/**
 * Splits the bytes of an HTTP/2 connection into frames (RFC 9113 §4), without a copy where one is
 * whole.
 */
import { ERROR, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, Http2Error } from './protocol.js';

/** `bytes` from `start` to `end` are the payload; they are valid during the call. */
export type OnFrame = (
  type: number,
  flags: number,
  streamId: number,
  bytes: Buffer,
  start: number,
  end: number,
) => void;

export class FrameReader {
  /** The head of a frame that is arriving, or the whole of it. */
  #partial = Buffer.allocUnsafe(FRAME_HEAD_BYTES);
  #partialBytes = 0;

  constructor(readonly onFrame: OnFrame) {}

  /** @throws Http2Error for a frame over the maximum, and what `onFrame` throws */
  read(bytes: Buffer): void {
    let at = this.#partialBytes > 0 ? this.#complete(bytes) : 0;
    while (bytes.length - at >= FRAME_HEAD_BYTES) {
      const end = at + frameBytes(bytes, at);
      if (end > bytes.length) break;
      this.#emit(bytes, at, end);
      at = end;
    }
    if (at < bytes.length) this.#keep(bytes, at);
  }

  /** Returns where the next frame starts. */
  #complete(bytes: Buffer): number {
    let at = this.#fill(bytes, 0);
    if (this.#partialBytes < this.#partial.length) return at;
    if (this.#partial.length === FRAME_HEAD_BYTES) {
      const frame = Buffer.allocUnsafe(frameBytes(this.#partial, 0));
      this.#partial.copy(frame);
      this.#partial = frame;
      at = this.#fill(bytes, at);
      if (this.#partialBytes < frame.length) return at;
    }
    const frame = this.#partial;
    this.#partial = Buffer.allocUnsafe(FRAME_HEAD_BYTES);
    this.#partialBytes = 0;
    this.#emit(frame, 0, frame.length);
    return at;
  }

  #fill(bytes: Buffer, at: number): number {
    const copied = bytes.copy(this.#partial, this.#partialBytes, at);
    this.#partialBytes += copied;
    return at + copied;
  }

  /** Keeps the beginning of a frame. */
  #keep(bytes: Buffer, at: number): void {
    if (bytes.length - at >= FRAME_HEAD_BYTES) {
      this.#partial = Buffer.allocUnsafe(frameBytes(bytes, at));
    }
    this.#fill(bytes, at);
  }

  #emit(bytes: Buffer, at: number, end: number): void {
    const streamId = bytes.readUInt32BE(at + 5) & 0x7fff_ffff;
    this.onFrame(bytes[at + 3]!, bytes[at + 4]!, streamId, bytes, at + FRAME_HEAD_BYTES, end);
  }
}

function frameBytes(bytes: Buffer, at: number): number {
  const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
  if (length > FRAME_BYTES_MAX) throw new Http2Error(ERROR.frameSize, `a frame of ${length} bytes`);
  return FRAME_HEAD_BYTES + length;
}
