/**
 * The streams of a connection that the library of gRPC answers. They have their own HTTP/2
 * connection to it, within the process: frames keep the numbers of their streams, header blocks are
 * encoded again, since a block depends on those before it, and windows of streams stay between the
 * client and the library. Only the window of a connection is shared with other streams: the library
 * may have sent as much as a connection's first window that the client's connection has not taken.
 */
import { Duplex } from 'node:stream';
import { FrameReader } from './frame-reader.js';
import { encodeFields } from './hpack-encoder.js';
import type { Field } from './hpack-table.js';
import type { Output } from './output.js';
import {
  ERROR,
  FLAG,
  FRAME,
  FRAME_BYTES_MAX,
  FRAME_HEAD_BYTES,
  frameOf,
  PREFACE,
  SETTING,
  settingsPayload,
  uint32Payload,
  WINDOW_BYTES,
} from './protocol.js';
import type { SendWindow } from './send-window.js';

/** The parts of a connection that are used here. */
export interface LibraryHost {
  readonly output: Output;
  readonly sendWindow: SendWindow;
  hasStream(streamId: number): boolean;
  onStreamClosed(streamId: number, isReset: boolean): void;
  /** Bytes of requests that the library has taken. */
  onLibraryConsumed(bytes: number): void;
  /** The library will take no more requests on this connection, or gives it up. */
  onLibraryGoaway(code: number): void;
  onLibraryClosed(): void;
  /** The client reads too slowly, or reads again. */
  readonly isFull: boolean;
  hasResponded: boolean;
  pause(): void;
  resume(): void;
}

const END_HEADERS = FLAG.endHeaders;

export class LibraryStreams {
  /** The library's end of the connection. */
  readonly end: Duplex;
  readonly #frames: FrameReader;
  /** Frames for the library. */
  readonly #toLibrary: Buffer[] = [];
  /**
   * DATA of one stream, which becomes a larger frame: the library has a cost per frame, and clients
   * write one for each message.
   */
  readonly #data = { streamId: 0, parts: [] as Buffer[], bytes: 0 };
  #isFlushing = false;
  /** Frames for the client that wait for the window of its connection; oldest first. */
  readonly #waiting: { readonly streamId: number; frame: Buffer }[] = [];
  /** Streams of which one side has ended: the client's or the library's. */
  readonly #halfEnded = new Map<number, 'client' | 'library'>();
  /**
   * Bytes that requests with a content-length still have (RFC 9113 §8.1.1). The library would learn
   * of wrong ones when it has answered.
   */
  readonly #expected = new Map<number, number>();
  /** A header block of the library that is not complete. */
  #block: Buffer[] = [];
  /** Bytes of DATA that were passed on, for which the window towards the library was not opened. */
  #passed = 0;
  /** Called when the client reads again. */
  #onWritten: (() => void) | undefined;

  constructor(
    readonly host: LibraryHost,
    initialWindowSize: number,
  ) {
    this.#frames = new FrameReader((type, flags, streamId, bytes, start, end) =>
      this.#onFrame(type, flags, streamId, bytes, start, end),
    );
    this.end = new Duplex({
      read: () => host.resume(),
      write: (bytes: Buffer, _encoding, callback) => this.#onWrite(bytes, callback),
      writev: (parts, callback) =>
        this.#onWrite(Buffer.concat(parts.map(({ chunk }) => chunk)), callback),
      destroy: (error, callback) => {
        host.onLibraryClosed();
        callback(error);
      },
    });
    const settings = settingsPayload([
      // So its header blocks do not depend on one another.
      [SETTING.headerTableSize, 0],
      [SETTING.enablePush, 0],
      [SETTING.initialWindowSize, initialWindowSize],
    ]);
    this.#toLibrary.push(Buffer.concat([PREFACE, frameOf(FRAME.settings, 0, 0, settings)]));
  }

  sendHeaders(streamId: number, fields: readonly Field[], isEnd: boolean): void {
    this.#sendPendingData();
    const block = encodeFields(fields);
    let type: number = FRAME.headers;
    let flags = isEnd ? FLAG.endStream : 0;
    for (let at = 0; at === 0 || at < block.length; at += FRAME_BYTES_MAX) {
      const part = block.subarray(at, at + FRAME_BYTES_MAX);
      if (at + FRAME_BYTES_MAX >= block.length) flags |= END_HEADERS;
      this.#toLibrary.push(frameOf(type, flags, streamId, part));
      type = FRAME.continuation;
      flags = 0;
    }
    const length = fields.find(({ name }) => name === 'content-length');
    if (length !== undefined) this.#expected.set(streamId, Number(length.value));
    if (isEnd) this.#endSide(streamId, 'client');
  }

  sendTrailers(streamId: number, fields: readonly Field[], isValid: boolean): void {
    if (this.#halfEnded.get(streamId) === 'client') this.#reset(streamId, ERROR.streamClosed);
    else if (!isValid) this.#reset(streamId, ERROR.protocol);
    else this.sendHeaders(streamId, fields, true);
  }

  sendData(streamId: number, data: Buffer, isEnd: boolean): void {
    if (this.#halfEnded.get(streamId) === 'client')
      return this.#reset(streamId, ERROR.streamClosed);
    const expected = this.#expected.get(streamId);
    if (expected !== undefined) {
      const rest = expected - data.length;
      if (rest < 0 || (isEnd && rest > 0)) return this.#reset(streamId, ERROR.protocol);
      this.#expected.set(streamId, rest);
    }
    const pending = this.#data;
    const isFull = pending.bytes + data.length > FRAME_BYTES_MAX;
    if (streamId !== pending.streamId || isFull || pending.parts.length === 0) {
      this.#sendPendingData();
      pending.streamId = streamId;
    }
    pending.parts.push(data);
    pending.bytes += data.length;
    if (!isEnd) return;
    this.#sendPendingData(FLAG.endStream);
    this.#endSide(streamId, 'client');
  }

  #sendPendingData(flags = 0): void {
    const { streamId, parts } = this.#data;
    if (parts.length === 0) return;
    const data = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    this.#toLibrary.push(frameOf(FRAME.data, flags, streamId, data));
    this.#data.parts = [];
    this.#data.bytes = 0;
  }

  /** Ends a stream towards both sides. */
  #reset(streamId: number, code: number): void {
    const payload = uint32Payload(code);
    this.send(FRAME.rstStream, 0, streamId, payload);
    this.host.output.write(frameOf(FRAME.rstStream, 0, streamId, payload));
    this.closeStream(streamId, true);
  }

  send(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    this.#sendPendingData();
    this.#toLibrary.push(frameOf(type, flags, streamId, payload));
  }

  setInitialWindow(bytes: number): void {
    this.send(FRAME.settings, 0, 0, settingsPayload([[SETTING.initialWindowSize, bytes]]));
  }

  /**
   * Passes on what was read from the client, up to the next request. What comes after it waits for
   * a turn: the library learns of a request at the end of one, and fails if its stream has ended by
   * then.
   */
  flush(): void {
    this.#sendPendingData();
    if (this.#isFlushing || this.#toLibrary.length === 0 || this.end.destroyed) return;
    const requestEnd = 1 + this.#toLibrary.findIndex(endsHeaders);
    const frames = this.#toLibrary.splice(0, requestEnd || this.#toLibrary.length);
    if (requestEnd > 0) {
      this.#isFlushing = true;
      setImmediate(() => {
        this.#isFlushing = false;
        this.flush();
      });
    }
    if (!this.end.push(Buffer.concat(frames))) this.host.pause();
  }

  /** Ends its connection to the library, when the library has learned of its requests. */
  close(): void {
    setImmediate(() => this.end.destroy());
  }

  /** The client reads again. */
  onDrain(): void {
    const onWritten = this.#onWritten;
    this.#onWritten = undefined;
    onWritten?.();
  }

  /** Called by `SendWindow`. */
  sendNext(): boolean {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const { streamId, frame } = next;
      const excess = this.#excessOf(frame);
      if (excess === 0) this.#waiting.shift();
      else next.frame = tailOf(frame, excess);
      if (frame.length > FRAME_HEAD_BYTES + excess) this.#pass(streamId, headOf(frame, excess));
      if (frame[3] === FRAME.data) break;
    }
    return this.#waiting.length > 0;
  }

  /** @param onWritten called when the library may write more */
  #onWrite(bytes: Buffer, onWritten: () => void): void {
    this.#frames.read(bytes);
    // The library is still within its write.
    if (this.#toLibrary.length > 0) queueMicrotask(() => this.flush());
    if (this.host.isFull) this.#onWritten = onWritten;
    else onWritten();
  }

  #onFrame(
    type: number,
    flags: number,
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    const frame = () => Buffer.from(bytes.subarray(start - FRAME_HEAD_BYTES, end));
    switch (type) {
      case FRAME.data:
      case FRAME.rstStream:
        return this.#toClient(streamId, frame());
      case FRAME.headers:
      case FRAME.continuation:
        this.#block.push(frame());
        if (!(flags & END_HEADERS)) return;
        // No other frame may stand between those of a block.
        this.#toClient(streamId, Buffer.concat(this.#block));
        this.#block = [];
        return;
      case FRAME.windowUpdate:
        if (streamId === 0) this.host.onLibraryConsumed(bytes.readUInt32BE(start));
        else this.host.output.write(frame());
        return;
      case FRAME.settings:
        if (!(flags & FLAG.ack)) this.send(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0));
        return;
      case FRAME.goaway:
        this.host.onLibraryGoaway(bytes.readUInt32BE(start + 4));
    }
  }

  #toClient(streamId: number, frame: Buffer): void {
    if (this.#waiting.length === 0 && this.#excessOf(frame) === 0) this.#pass(streamId, frame);
    else if (this.#waiting.push({ streamId, frame }) === 1) this.host.sendWindow.wait(this);
  }

  /** Bytes by which a frame is larger than the window of the connection. */
  #excessOf(frame: Buffer): number {
    if (frame[3] !== FRAME.data) return 0;
    return Math.max(0, frame.length - FRAME_HEAD_BYTES - this.host.sendWindow.bytes);
  }

  /** Writes a frame, or drops that of a stream which its client has reset. */
  #pass(streamId: number, frame: Buffer): void {
    const { host } = this;
    const [type, flags] = [frame[3], frame[4]!];
    const isOpen = host.hasStream(streamId);
    if (type === FRAME.data) {
      const bytes = frame.length - FRAME_HEAD_BYTES;
      if (isOpen) host.sendWindow.take(bytes);
      this.#passed += bytes;
      if (this.#passed > WINDOW_BYTES / 2) {
        this.send(FRAME.windowUpdate, 0, 0, uint32Payload(this.#passed));
        this.#passed = 0;
      }
    }
    if (!isOpen) return;
    host.hasResponded = true;
    host.output.write(frame);
    if (type === FRAME.rstStream) this.closeStream(streamId, true);
    else if (flags & FLAG.endStream) this.#endSide(streamId, 'library');
  }

  /** @param isReset the library has sent RST_STREAM */
  closeStream(streamId: number, isReset: boolean): void {
    this.#halfEnded.delete(streamId);
    this.#expected.delete(streamId);
    this.host.onStreamClosed(streamId, isReset);
  }

  #endSide(streamId: number, side: 'client' | 'library'): void {
    const other = this.#halfEnded.get(streamId);
    if (other === undefined) this.#halfEnded.set(streamId, side);
    else if (other !== side) this.closeStream(streamId, false);
  }
}

function endsHeaders(frame: Buffer): boolean {
  const type = frame[3];
  const isHeaders = type === FRAME.headers || type === FRAME.continuation;
  return isHeaders && (frame[4]! & END_HEADERS) !== 0;
}

/** The first part of a DATA frame, without its last bytes. */
function headOf(frame: Buffer, excess: number): Buffer {
  if (excess === 0) return frame;
  const part = frame.subarray(FRAME_HEAD_BYTES, frame.length - excess);
  return frameOf(FRAME.data, 0, frame.readUInt32BE(5), part);
}

function tailOf(frame: Buffer, bytes: number): Buffer {
  const part = frame.subarray(frame.length - bytes);
  return frameOf(FRAME.data, frame[4]!, frame.readUInt32BE(5), part);
}
