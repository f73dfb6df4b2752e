/**
 * The first bytes of MQTT over a WebSocket (MQTT 5 §6), from the first frame to the end of the
 * frame that completes CONNECT. Edges and front proxies read them with the same code. Packets may
 * be split and joined over frames in any way [MQTT-6.0.0-2].
 *
 * The reader takes one frame at a time, so that it knows where the frames after CONNECT begin:
 * these are for the connection that follows.
 */
import { type Rejection, rejection } from '../../process/errors.js';
import { FrameReader, type FrameSink, LENGTH_16, NO_CLOSE_CODE, type Violation } from './frame.js';
import { binaryFrame, CLOSE_REASON_BYTES_MAX, closeFrame, pongFrame } from './writer.js';

/** Bytes in a message beside a packet of maximum size: further packets. */
const FURTHER_BYTES_MAX = 8 * 1024;
/** All frames together, relative to a packet of maximum size; frames of one byte have seven. */
const FRAMES_FACTOR = 8;
const FRAGMENTS_MAX = 128;

const NO_BYTES = Buffer.alloc(0);

/** RFC 6455 §7.4.1, and the registry of close codes. */
const POLICY_VIOLATION = 1008;
const TRY_AGAIN_LATER = 1013;

const TEXT: Violation = {
  closeCode: 1003,
  reason: 'MQTT needs binary messages [MQTT-6.0.0-1]',
};

/** Parts of the header of a frame that this reader builds itself (RFC 6455 §5.2). */
const MASKED_BINARY = 0x82;
const MASK_BIT = 0x80;
const NO_MASK = Buffer.alloc(4);

export type MqttOpening<Result> =
  /** @property reply pongs, possibly empty */
  | { readonly type: 'more'; readonly reply: Buffer }
  | { readonly type: 'parsed'; readonly result: Result; readonly reply: Buffer }
  /** The peer has closed, or violated the protocol if there is a rejection. */
  | { readonly type: 'closed'; readonly bytes: Buffer; readonly rejected: Rejection | undefined };

export class MqttOpeningReader implements FrameSink {
  readonly #frames: FrameReader;
  /** Bytes of an incomplete frame; after CONNECT, all frames that follow. */
  #unread = NO_BYTES;
  /** Payload of the messages so far: the beginning of the MQTT stream. */
  #stream = NO_BYTES;
  #pongs: Buffer[] = [];
  #total = 0;
  #hasMessage = false;
  #isText = false;
  #closeCode: number | undefined;

  /** @param packetBytesMax maximum size of a packet */
  constructor(readonly packetBytesMax: number) {
    const messageBytesMax = mqttMessageBytesMax(packetBytesMax);
    this.#frames = new FrameReader({ messageBytesMax, fragmentsMax: FRAGMENTS_MAX }, this);
  }

  /**
   * @param bytes the next bytes
   * @param parse parses the MQTT stream from its beginning; 'more' while CONNECT is incomplete
   */
  read<Result>(bytes: Buffer, parse: (stream: Buffer) => Result | 'more'): MqttOpening<Result> {
    const all = Buffer.concat([this.#unread, bytes]);
    this.#total += bytes.length;
    let at = 0;
    for (let end = this.#frameEnd(all, at); end !== undefined; end = this.#frameEnd(all, at)) {
      const violation = this.#frames.read(all.subarray(at, end));
      at = end;
      if (violation !== undefined) return this.#fail(violation);
      if (this.#closeCode !== undefined) return this.#close(this.#closeCode);
      if (this.#isText) return this.#fail(TEXT);
      if (!this.#hasMessage) continue;
      this.#hasMessage = false;
      const result = parse(this.#stream);
      if (result === 'more') continue;
      this.#unread = all.subarray(at);
      return { type: 'parsed', result, reply: this.#takePongs() };
    }
    this.#unread = all.subarray(at);
    if (this.#total > FRAMES_FACTOR * this.packetBytesMax) {
      return this.#fail({ closeCode: 1009, reason: 'no CONNECT within the maximum of bytes' });
    }
    return { type: 'more', reply: this.#takePongs() };
  }

  /** Returns the frames after CONNECT: `stream`, the rest of its message, first. */
  framesAfter(stream: Buffer): Buffer {
    if (stream.length === 0) return this.#unread;
    const { length } = stream;
    const header =
      length < LENGTH_16
        ? [MASKED_BINARY, MASK_BIT | length]
        : [MASKED_BINARY, MASK_BIT | LENGTH_16, length >> 8, length & 0xff];
    return Buffer.concat([Buffer.from(header), NO_MASK, stream, this.#unread]);
  }

  onMessage(payload: Buffer, isText: boolean): void {
    this.#hasMessage = true;
    this.#isText ||= isText;
    this.#stream = Buffer.concat([this.#stream, payload]);
  }

  onPing(payload: Buffer): void {
    this.#pongs.push(pongFrame(payload));
  }

  onPong(): void {}

  onClose(code: number): void {
    this.#closeCode = code;
  }

  /**
   * End of the frame at `at`; undefined while it is incomplete. A frame that is too long ends with
   * its header, which the frame reader rejects.
   */
  #frameEnd(bytes: Buffer, at: number): number | undefined {
    if (bytes.length < at + 2) return undefined;
    const short = bytes[at + 1]! & 0x7f;
    const lengthBytes = short < LENGTH_16 ? 0 : short === LENGTH_16 ? 2 : 8;
    const header = at + 2 + lengthBytes;
    if (bytes.length < header) return undefined;
    let length = lengthBytes === 0 ? short : 0;
    for (let i = at + 2; i < header; i++) length = length * 256 + bytes[i]!;
    if (length > mqttMessageBytesMax(this.packetBytesMax)) return header;
    const isMasked = (bytes[at + 1]! & MASK_BIT) !== 0;
    const end = header + (isMasked ? 4 : 0) + length;
    return end <= bytes.length ? end : undefined;
  }

  #takePongs(): Buffer {
    return Buffer.concat(this.#pongs.splice(0));
  }

  /** RFC 6455 §7.1.7 */
  #fail({ closeCode, reason }: Violation): MqttOpening<never> {
    const rejected = rejection('REQUEST_MALFORMED', reason);
    return { type: 'closed', bytes: closeFrame(closeCode, reason), rejected };
  }

  /** RFC 6455 §5.5.1 */
  #close(code: number): MqttOpening<never> {
    const bytes = closeFrame(code === NO_CLOSE_CODE ? 1000 : code);
    return { type: 'closed', bytes, rejected: undefined };
  }
}

/**
 * Returns the frames that reject a device: the CONNACK, if there is one, and a close frame. Without
 * a CONNACK the device may retry.
 */
export function mqttRejectionFrames(connack: Buffer, { message }: Rejection): Buffer {
  const code = connack.length === 0 ? TRY_AGAIN_LATER : POLICY_VIOLATION;
  const reason = Buffer.from(message, 'ascii').subarray(0, CLOSE_REASON_BYTES_MAX);
  const close = closeFrame(code, reason.toString('ascii'));
  return connack.length === 0 ? close : Buffer.concat([binaryFrame(connack), close]);
}

/** Maximum size of a WebSocket message with MQTT packets. */
export function mqttMessageBytesMax(packetBytesMax: number): number {
  return packetBytesMax + FURTHER_BYTES_MAX;
}
