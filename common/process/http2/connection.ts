/**
 * The server's side of one HTTP/2 connection (RFC 9113). It answers the requests that `onRequest`
 * takes; the others go on to the library of gRPC, frame by frame (`library-streams.ts`), which also
 * judges what is wrong with them. So this has the rules of a connection and of its own streams.
 *
 * Bounds: streams at once; the size of frames, header blocks and lists; frames that are cheap for a
 * client only; and bytes that a client has not read, above which nothing more is read from it.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TokenBucket } from '../token-bucket.js';
import { FrameReader } from './frame-reader.js';
import { HpackDecoder } from './hpack-decoder.js';
import type { Field } from './hpack-table.js';
import { LibraryStreams } from './library-streams.js';
import { Output } from './output.js';
import {
  dependencyOf,
  frameSizeError,
  protocolError,
  readSettings,
  withoutPadding,
} from './payloads.js';
import {
  ERROR,
  FLAG,
  FRAME,
  frameOf,
  Http2Error,
  PREFACE,
  settingsFrame,
  uint32Payload,
  WINDOW_BYTES,
  WINDOW_BYTES_MAX,
} from './protocol.js';
import { RecentStreams } from './recent-streams.js';
import { RequestStream } from './request-stream.js';
import { SendWindow } from './send-window.js';

export interface Http2Options {
  /** Returns false for a request that the library is to answer. */
  readonly onRequest: (stream: RequestStream, fields: readonly Field[]) => boolean;
  /** Takes the library's end of a connection. */
  readonly onLibraryConnection: (end: Duplex) => void;
  readonly streamsMax: number;
}

/** Like the default of Node.js. */
const HEADER_LIST_BYTES_MAX = 65_535;
const HEADER_BLOCK_BYTES_MAX = 65_536;
/** As in nghttp2, like the next two. */
const CONTINUATIONS_MAX = 8;
const CHEAP_FRAMES_PER_SECOND = 33;
const CHEAP_FRAMES_BURST = 1_000;
/** Time for the client to close its side. */
const LINGER_MS = 1_000;
/**
 * Bytes that are consumed before the window of a connection is opened again. The library holds back
 * half of a window, too, and the client must be left enough.
 */
const CONSUMED_BYTES_MAX = 8_192;
const NO_BYTES = Buffer.alloc(0);

export class Http2Connection {
  readonly output: Output;
  readonly sendWindow = new SendWindow();
  readonly #frames: FrameReader;
  readonly #decoder = new HpackDecoder(HEADER_LIST_BYTES_MAX);
  readonly #cheapFrames: TokenBucket;
  /** Open streams; those of the library are `undefined`. */
  readonly #streams = new Map<number, RequestStream | undefined>();
  readonly #resetStreams = new RecentStreams();
  #library: LibraryStreams | undefined;
  #lastStreamId = 0;
  /** Newest stream that is answered, by the GOAWAY that was sent; later ones are ignored. */
  #streamIdMax = WINDOW_BYTES_MAX;
  /** A header block that is not complete. */
  #block: { streamId: number; flags: number; parts: Buffer[]; bytes: number } | undefined;
  #prefaceBytes = 0;
  #hasSettings = false;
  /** Bytes that the client accepts on a new stream. */
  #initialSendWindow = WINDOW_BYTES;
  #receiveWindow = WINDOW_BYTES;
  /** Bytes that were taken and not yet added to the window again. */
  #consumed = 0;
  readonly #pings: (() => void)[] = [];
  #isLibraryFull = false;
  #isEnded = false;
  isFull = false;
  /** State of `hasSentMore`; set by streams. */
  hasResponded = false;
  onPing = () => {};
  /** The connection ends with an error of the client. */
  onError: (error: Pick<Http2Error, 'code'>) => void = () => {};

  /** Sends the server's settings: clients wait for them before their first request. */
  constructor(
    readonly socket: Socket,
    readonly options: Http2Options,
  ) {
    const { streamsMax } = options;
    // A client may cancel all of its calls at once.
    const burst = Math.max(CHEAP_FRAMES_BURST, streamsMax);
    this.#cheapFrames = new TokenBucket(CHEAP_FRAMES_PER_SECOND, performance.now(), burst);
    this.output = new Output(socket, () => this.#setFull(true));
    this.#frames = new FrameReader((type, flags, streamId, bytes, start, end) =>
      this.#onFrame(type, flags, streamId, bytes, start, end),
    );
    socket.setNoDelay(true);
    this.output.write(settingsFrame(streamsMax));
    socket.on('data', (bytes) => this.receive(bytes));
    socket.on('drain', () => this.#setFull(false));
    socket.on('error', () => {}); // `close` follows.
    socket.on('close', () => this.#onClose());
  }

  get destroyed(): boolean {
    return this.socket.destroyed;
  }

  /** The open requests, without those that the library answers. */
  get requests(): RequestStream[] {
    return [...this.#streams.values()].filter((stream) => stream !== undefined);
  }

  /** Whether a response, or a part of it, was sent since the last call. */
  hasSentMore(): boolean {
    const hasSentMore = this.hasResponded;
    this.hasResponded = false;
    return hasSentMore;
  }

  ping(onAnswer: () => void): void {
    if (this.#isEnded) return;
    this.#pings.push(onAnswer);
    this.output.write(frameOf(FRAME.ping, 0, 0, Buffer.alloc(8)));
  }

  goaway(code: number, text = ''): void {
    const payload = Buffer.concat([
      uint32Payload(Math.min(this.#lastStreamId, this.#streamIdMax)),
      uint32Payload(code),
      Buffer.from(text),
    ]);
    this.output.write(frameOf(FRAME.goaway, 0, 0, payload));
    this.output.flush();
  }

  /** Takes no further requests, and ends when those before are answered. */
  close(): void {
    if (this.#streamIdMax < WINDOW_BYTES_MAX) return;
    this.#streamIdMax = this.#lastStreamId;
    this.goaway(ERROR.none);
    this.#endWhenIdle();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Called with all that the client has sent. */
  receive(bytes: Buffer): void {
    if (this.#isEnded) return;
    try {
      const rest = this.#prefaceBytes < PREFACE.length ? this.#readPreface(bytes) : bytes;
      if (rest.length > 0) this.#frames.read(rest);
    } catch (error) {
      if (!(error instanceof Http2Error)) throw error;
      this.#fail(error);
    }
    this.#library?.flush();
  }

  /** Returns the bytes after it. */
  #readPreface(bytes: Buffer): Buffer {
    const part = bytes.subarray(0, PREFACE.length - this.#prefaceBytes);
    const expected = PREFACE.subarray(this.#prefaceBytes, this.#prefaceBytes + part.length);
    if (!part.equals(expected)) throw protocolError('this is not HTTP/2');
    this.#prefaceBytes += part.length;
    return bytes.subarray(part.length);
  }

  #onFrame(
    type: number,
    flags: number,
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    if (this.#isEnded) return;
    if (!this.#hasSettings && type !== FRAME.settings) throw protocolError('SETTINGS come first');
    if (this.#block !== undefined && type !== FRAME.continuation) {
      throw protocolError('a header block is interrupted');
    }
    switch (type) {
      case FRAME.data:
        return this.#onDataFrame(flags, streamId, bytes, start, end);
      case FRAME.headers:
        return this.#onHeaders(flags, streamId, bytes, start, end);
      case FRAME.continuation:
        return this.#onContinuation(flags, streamId, bytes.subarray(start, end));
      case FRAME.priority:
        return this.#onPriority(streamId, bytes, start, end);
      case FRAME.rstStream:
        return this.#onRstStream(streamId, bytes.subarray(start, end));
      case FRAME.settings:
        return this.#onSettings(flags, streamId, bytes.subarray(start, end));
      case FRAME.pushPromise:
        throw protocolError('a client cannot push');
      case FRAME.ping:
        return this.#onPingFrame(flags, streamId, bytes.subarray(start, end));
      case FRAME.goaway:
        if (streamId !== 0) throw protocolError('GOAWAY of a stream');
        return this.close();
      case FRAME.windowUpdate:
        return this.#onWindowUpdate(streamId, bytes, start, end);
      default:
        this.#countCheapFrame();
    }
  }

  #onDataFrame(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    const frameBytes = end - start;
    this.#receiveWindow -= frameBytes;
    if (this.#receiveWindow < 0) {
      throw new Http2Error(ERROR.flowControl, 'more bytes than the window of the connection');
    }
    const data = withoutPadding(flags, bytes, start, end);
    const isEnd = (flags & FLAG.endStream) !== 0;
    if (frameBytes === 0 && !isEnd) this.#countCheapFrame();
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) {
      stream.onData(data, frameBytes, isEnd);
      this.#onConsumed(frameBytes);
    } else if (this.#streams.has(streamId)) {
      const padding = frameBytes - data.length;
      this.#onConsumed(padding);
      if (padding > 0) this.#writeWindowUpdate(streamId, padding);
      this.#library!.sendData(streamId, data, isEnd);
    } else {
      this.#checkNotIdle(streamId);
      this.#onConsumed(frameBytes);
      if (!this.#isIgnored(streamId)) this.#reset(streamId, ERROR.streamClosed);
    }
  }

  #onHeaders(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    let block = withoutPadding(flags, bytes, start, end);
    if (flags & FLAG.priority) {
      if (block.length < 5) throw frameSizeError('HEADERS');
      if (dependencyOf(block) === streamId) throw protocolError('a stream depends on itself');
      block = block.subarray(5);
    }
    if (flags & FLAG.endHeaders) return this.#onBlock(flags, streamId, block);
    this.#block = { streamId, flags, parts: [Buffer.from(block)], bytes: block.length };
  }

  #onContinuation(flags: number, streamId: number, part: Buffer): void {
    const block = this.#block;
    if (block?.streamId !== streamId) throw protocolError('CONTINUATION without HEADERS');
    block.bytes += part.length;
    const count = block.parts.push(Buffer.from(part));
    if (block.bytes > HEADER_BLOCK_BYTES_MAX || count > 1 + CONTINUATIONS_MAX) {
      throw new Http2Error(ERROR.enhanceYourCalm, 'a header block is too large');
    }
    if (!(flags & FLAG.endHeaders)) return;
    this.#block = undefined;
    this.#onBlock(block.flags, streamId, Buffer.concat(block.parts));
  }

  /** A request, or trailers. */
  #onBlock(flags: number, streamId: number, block: Buffer): void {
    const fields = this.#decoder.decode(block, 0, block.length);
    const isEnd = (flags & FLAG.endStream) !== 0;
    if (this.#streams.has(streamId)) return this.#onTrailers(streamId, fields, isEnd);
    if (streamId % 2 === 0) throw protocolError('a stream of a client has an odd number');
    if (streamId <= this.#lastStreamId) {
      if (this.#isIgnored(streamId)) return;
      throw new Http2Error(ERROR.streamClosed, `stream ${streamId} is closed`);
    }
    this.#lastStreamId = streamId;
    if (streamId > this.#streamIdMax) return;
    if (fields === undefined) return this.#reset(streamId, ERROR.enhanceYourCalm);
    if (this.#streams.size >= this.options.streamsMax) {
      return this.#reset(streamId, ERROR.refusedStream);
    }
    const stream = new RequestStream(streamId, this, this.#initialSendWindow);
    this.#streams.set(streamId, stream);
    if (this.options.onRequest(stream, fields)) {
      if (isEnd) stream.onEnd();
    } else {
      this.#streams.set(streamId, undefined);
      this.#library ??= this.#openLibrary();
      this.#library.sendHeaders(streamId, fields, isEnd);
    }
  }

  #openLibrary(): LibraryStreams {
    const library = new LibraryStreams(this, this.#initialSendWindow);
    this.options.onLibraryConnection(library.end);
    return library;
  }

  #onTrailers(streamId: number, fields: readonly Field[] | undefined, isEnd: boolean): void {
    if (fields === undefined) throw new Http2Error(ERROR.enhanceYourCalm, 'trailers too large');
    const stream = this.#streams.get(streamId);
    const isValid = isEnd && !fields.some(({ name }) => name.startsWith(':'));
    if (stream === undefined) this.#library!.sendTrailers(streamId, fields, isValid);
    else if (isValid) stream.onEnd();
    else stream.reset(ERROR.protocol);
  }

  #onPriority(streamId: number, bytes: Buffer, start: number, end: number): void {
    this.#countCheapFrame();
    if (streamId === 0) throw protocolError('PRIORITY of the connection');
    if (end - start !== 5) throw frameSizeError('PRIORITY');
    if (dependencyOf(bytes.subarray(start)) === streamId) {
      throw protocolError('a stream depends on itself');
    }
  }

  #onRstStream(streamId: number, payload: Buffer): void {
    this.#countCheapFrame();
    if (payload.length !== 4) throw frameSizeError('RST_STREAM');
    this.#checkNotIdle(streamId);
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) stream.close();
    else if (this.#streams.has(streamId)) {
      this.#library!.send(FRAME.rstStream, 0, streamId, payload);
      this.#library!.closeStream(streamId, false);
    }
  }

  #onSettings(flags: number, streamId: number, payload: Buffer): void {
    this.#countCheapFrame();
    if (streamId !== 0) throw protocolError('SETTINGS of a stream');
    if (flags & FLAG.ack) {
      if (payload.length > 0) throw frameSizeError('SETTINGS');
      return;
    }
    const { initialWindowSize } = readSettings(payload);
    this.#hasSettings = true;
    if (initialWindowSize !== undefined) this.#setInitialWindow(initialWindowSize);
    this.output.write(frameOf(FRAME.settings, FLAG.ack, 0, NO_BYTES));
  }

  #setInitialWindow(value: number): void {
    const change = value - this.#initialSendWindow;
    this.#initialSendWindow = value;
    for (const stream of this.#streams.values()) stream?.openWindow(change);
    this.#library?.setInitialWindow(value);
  }

  #onPingFrame(flags: number, streamId: number, payload: Buffer): void {
    if (streamId !== 0) throw protocolError('PING of a stream');
    if (payload.length !== 8) throw frameSizeError('PING');
    if (flags & FLAG.ack) return this.#pings.shift()?.();
    this.output.write(frameOf(FRAME.ping, FLAG.ack, 0, payload));
    this.onPing();
  }

  #onWindowUpdate(streamId: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) throw frameSizeError('WINDOW_UPDATE');
    const increment = bytes.readUInt32BE(start) & WINDOW_BYTES_MAX;
    if (streamId === 0) {
      if (increment === 0) throw protocolError('WINDOW_UPDATE by 0');
      return this.sendWindow.open(increment);
    }
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) {
      if (increment === 0) stream.reset(ERROR.protocol);
      else stream.openWindow(increment);
    } else if (this.#streams.has(streamId)) {
      const payload = bytes.subarray(start, end);
      this.#library!.send(FRAME.windowUpdate, 0, streamId, payload);
    } else this.#checkNotIdle(streamId);
  }

  /** Frames of a stream that its client has not opened end the connection (§5.1). */
  #checkNotIdle(streamId: number): void {
    if (streamId === 0 || streamId % 2 === 0 || streamId > this.#lastStreamId) {
      throw protocolError(`stream ${streamId} is idle`);
    }
  }

  #isIgnored(streamId: number): boolean {
    return streamId > this.#streamIdMax || this.#resetStreams.has(streamId);
  }

  #reset(streamId: number, code: number): void {
    this.output.write(frameOf(FRAME.rstStream, 0, streamId, uint32Payload(code)));
    this.#resetStreams.add(streamId);
  }

  #countCheapFrame(): void {
    if (!this.#cheapFrames.take(performance.now())) {
      throw new Http2Error(ERROR.enhanceYourCalm, 'too many frames that are not requests');
    }
  }

  #writeWindowUpdate(streamId: number, increment: number): void {
    this.output.write(frameOf(FRAME.windowUpdate, 0, streamId, uint32Payload(increment)));
  }

  /** The client violates the protocol, or floods. */
  #fail(error: Http2Error): void {
    this.onError(error);
    this.goaway(error.code, error.message);
    this.#end();
    this.#destroyLater();
  }

  #endWhenIdle(): void {
    if (this.#streamIdMax < WINDOW_BYTES_MAX && this.#streams.size === 0) this.#end();
  }

  /** Closes this side when all is written; the client has some time after it to close its own. */
  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.output.flush();
    this.socket.end(this.#destroyLater);
    // Bytes that the client still sends are ignored; unread, they would make the kernel drop ours.
    this.socket.resume();
    this.#closeStreams();
  }

  readonly #destroyLater = () => void setTimeout(() => this.destroy(), LINGER_MS).unref();

  #onClose(): void {
    this.#isEnded = true;
    this.#closeStreams();
  }

  #closeStreams(): void {
    for (const stream of this.#streams.values()) stream?.close();
    this.#streams.clear();
    this.#library?.close();
  }

  // Called by streams.

  hasStream(streamId: number): boolean {
    return this.#streams.has(streamId);
  }

  onStreamClosed(streamId: number, isReset: boolean): void {
    if (isReset) this.#resetStreams.add(streamId);
    this.#streams.delete(streamId);
    this.#endWhenIdle();
  }

  #onConsumed(bytes: number): void {
    this.#consumed += bytes;
    if (this.#consumed >= CONSUMED_BYTES_MAX) this.#openReceiveWindow();
  }

  onLibraryConsumed(bytes: number): void {
    this.#consumed += bytes;
    this.#openReceiveWindow();
  }

  #openReceiveWindow(): void {
    this.#receiveWindow += this.#consumed;
    this.#writeWindowUpdate(0, this.#consumed);
    this.#consumed = 0;
  }

  onLibraryGoaway(code: number): void {
    if (code === ERROR.none) this.close();
    else this.#fail(new Http2Error(code, 'the requests of this connection are invalid'));
  }

  onLibraryClosed(): void {
    if (this.#isEnded) return;
    this.output.flush();
    this.destroy();
  }

  pause(): void {
    this.#isLibraryFull = true;
    this.socket.pause();
  }

  resume(): void {
    if (!this.#isLibraryFull) return;
    this.#isLibraryFull = false;
    if (!this.isFull) this.socket.resume();
  }

  #setFull(isFull: boolean): void {
    this.isFull = isFull;
    if (isFull) this.socket.pause();
    else {
      this.#library?.onDrain();
      if (!this.#isLibraryFull) this.socket.resume();
    }
  }
}
