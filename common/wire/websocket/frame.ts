/**
 * Parser for the frames of a device (RFC 6455 §5): a state machine with its states in wire order.
 * It consumes headers one byte at a time and copies a payload once, while unmasking it.
 *
 * Memory is bounded. A reader buffers only an incomplete frame or message, and its caller drops an
 * idle reader, so an idle connection costs nothing. Limits are checked before bytes are buffered.
 * All fragments of a message go into one buffer, so a fragment of one byte costs one byte.
 *
 * Invariants:
 * - `isIdle` is true exactly between messages: a new reader would continue in the same way;
 * - nothing is read after a violation or after the peer's close frame.
 */
import { isUtf8 } from 'node:buffer';

/** RFC 6455 §11.8 */
export const OPCODES = {
  continuation: 0,
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
} as const;

/** Code of a close frame without one (RFC 6455 §7.4.1); never on the wire. */
export const NO_CLOSE_CODE = 1005;

export interface FrameLimits {
  /** Payload bytes per message, over all its fragments. */
  readonly messageBytesMax: number;
  /** Frames per message, empty ones included: they cost time, if not memory. */
  readonly fragmentsMax: number;
}

/** Receiver of parsed frames. It owns the buffers that it is passed. */
export interface FrameSink {
  onMessage(payload: Buffer, isText: boolean): void;
  onPing(payload: Buffer): void;
  onPong(payload: Buffer): void;
  /** The peer sent a close frame; nothing more is read. */
  onClose(code: number, reason: string): void;
}

/** Protocol violation that fails the connection (RFC 6455 §7.1.7). */
export interface Violation {
  /** RFC 6455 §7.4 */
  readonly closeCode: 1002 | 1003 | 1007 | 1008 | 1009 | 1013;
  /** Reason of the close frame, at most 123 bytes. */
  readonly reason: string;
}

const READ_OPCODE = 0;
const READ_LENGTH = 1;
const READ_LENGTH_16 = 2;
const READ_LENGTH_64 = 3;
const READ_MASK = 4;
const READ_PAYLOAD = 5;
const CLOSED = 6;

/** RFC 6455 §5.5 */
export const CONTROL_BYTES_MAX = 125;
/** Markers of a length in the 2 or 8 bytes that follow (RFC 6455 §5.2). */
export const LENGTH_16 = 126;
export const LENGTH_64 = 127;

const NOTHING = Buffer.alloc(0);

export class FrameReader {
  #state = READ_OPCODE;
  /** Opcode and FIN of the current frame. */
  #opcode: number = OPCODES.continuation;
  #isFinal = false;
  /** Announced payload bytes; while an extended length is incomplete, the value so far. */
  #length = 0;
  /** Missing bytes of the extended length or of the mask. */
  #missing = 0;
  #mask = 0;
  /** Payload bytes of the frame read so far; selects the next byte of the mask. */
  #done = 0;
  /** Payload of a control frame, which may be between the fragments of a message (§5.4). */
  #control = NOTHING;
  /** Opcode of the current message, text or binary; 0 between messages. */
  #messageOpcode = 0;
  #fragments = 0;
  #message = NOTHING;
  #messageLength = 0;

  constructor(
    readonly limits: FrameLimits,
    readonly sink: FrameSink,
  ) {}

  /** Whether nothing is incomplete: a new reader could replace this one. */
  get isIdle(): boolean {
    return this.#state === READ_OPCODE && this.#messageOpcode === 0;
  }

  /** Whether the peer has closed or violated the protocol: further bytes are ignored. */
  get isClosed(): boolean {
    return this.#state === CLOSED;
  }

  /**
   * @param bytes the next bytes, in pieces of any size; may be overwritten after the call
   * @returns the violation that fails the connection, if any
   */
  read(bytes: Uint8Array): Violation | undefined {
    let at = 0;
    while (at < bytes.length) {
      let violated: Violation | undefined;
      switch (this.#state) {
        case READ_OPCODE:
          violated = this.#readOpcode(bytes[at++]!);
          break;
        case READ_LENGTH:
          violated = this.#readLength(bytes[at++]!);
          break;
        case READ_LENGTH_16:
          violated = this.#readLongLength(bytes[at++]!, LENGTH_16);
          break;
        case READ_LENGTH_64:
          violated = this.#readLongLength(bytes[at++]!, 0x1_0000);
          break;
        case READ_MASK:
          violated = this.#readMask(bytes[at++]!);
          break;
        case READ_PAYLOAD: {
          const until = Math.min(bytes.length, at + this.#length - this.#done);
          violated = this.#readPayload(bytes.subarray(at, until));
          at = until;
          break;
        }
        case CLOSED:
          return undefined;
      }
      if (violated !== undefined) {
        this.#becomeClosed();
        return violated;
      }
    }
    return undefined;
  }

  /** FIN, RSV and opcode (§5.2), checked against the state of the message (§5.4). */
  #readOpcode(byte: number): Violation | undefined {
    if ((byte & 0x70) !== 0) return violation(1002, 'reserved bit set (RFC 6455 §5.2)');
    this.#isFinal = (byte & 0x80) !== 0;
    this.#opcode = byte & 0x0f;
    switch (this.#opcode) {
      case OPCODES.continuation:
        if (this.#messageOpcode === 0) {
          return violation(1002, 'continuation frame outside a message (RFC 6455 §5.4)');
        }
        break;
      case OPCODES.text:
      case OPCODES.binary:
        if (this.#messageOpcode !== 0) {
          return violation(1002, 'new message before the end of the last (RFC 6455 §5.4)');
        }
        this.#messageOpcode = this.#opcode;
        break;
      case OPCODES.close:
      case OPCODES.ping:
      case OPCODES.pong:
        if (!this.#isFinal) return violation(1002, 'fragmented control frame (RFC 6455 §5.5)');
        break;
      default:
        return violation(1002, `reserved opcode ${this.#opcode} (RFC 6455 §5.2)`);
    }
    if (!this.#isControl && ++this.#fragments > this.limits.fragmentsMax) {
      return violation(1008, `message of more than ${this.limits.fragmentsMax} fragments`);
    }
    this.#state = READ_LENGTH;
    return undefined;
  }

  /** MASK bit and 7-bit length, or the marker of an extended length (§5.2). */
  #readLength(byte: number): Violation | undefined {
    if ((byte & 0x80) === 0) return violation(1002, 'unmasked frame (RFC 6455 §5.1)');
    const length = byte & 0x7f;
    if (this.#isControl && length > CONTROL_BYTES_MAX) {
      return violation(1002, 'control frame of more than 125 bytes (RFC 6455 §5.5)');
    }
    this.#length = length;
    if (length < LENGTH_16) return this.#checkLength();
    this.#length = 0;
    this.#missing = length === LENGTH_16 ? 2 : 8;
    this.#state = length === LENGTH_16 ? READ_LENGTH_16 : READ_LENGTH_64;
    return undefined;
  }

  /** @param least smallest length that needs this form; the shortest form is mandatory (§5.2) */
  #readLongLength(byte: number, least: number): Violation | undefined {
    // Inexact above 2^53, but such a length is rejected below anyway.
    this.#length = this.#length * 256 + byte;
    if (--this.#missing > 0) return undefined;
    if (this.#length < least) {
      return violation(1002, 'length not in its shortest form (RFC 6455 §5.2)');
    }
    return this.#checkLength();
  }

  #checkLength(): Violation | undefined {
    const { messageBytesMax } = this.limits;
    if (!this.#isControl && this.#messageLength + this.#length > messageBytesMax) {
      return violation(1009, `message of more than ${messageBytesMax} bytes`);
    }
    this.#missing = 4;
    this.#state = READ_MASK;
    return undefined;
  }

  #readMask(byte: number): Violation | undefined {
    this.#mask = (this.#mask << 8) | byte;
    if (--this.#missing > 0) return undefined;
    this.#done = 0;
    if (this.#length === 0) return this.#endFrame();
    if (this.#isControl) this.#control = Buffer.allocUnsafeSlow(this.#length);
    this.#state = READ_PAYLOAD;
    return undefined;
  }

  #readPayload(bytes: Uint8Array): Violation | undefined {
    if (this.#isControl) {
      this.#unmask(bytes, this.#control, this.#done);
    } else {
      this.#reserve(bytes.length);
      this.#unmask(bytes, this.#message, this.#messageLength);
      this.#messageLength += bytes.length;
    }
    this.#done += bytes.length;
    return this.#done === this.#length ? this.#endFrame() : undefined;
  }

  /** §5.3 */
  #unmask(from: Uint8Array, to: Buffer, at: number): void {
    for (let i = 0; i < from.length; i++) {
      const maskByte = (this.#done + i) & 3;
      to[at + i] = from[i]! ^ (this.#mask >>> (24 - 8 * maskByte));
    }
  }

  /** Doubles the buffer, so that a message in tiny pieces is not copied once per piece. */
  #reserve(bytes: number): void {
    const needed = this.#messageLength + bytes;
    if (needed <= this.#message.length) return;
    const wanted = Math.min(2 * this.#message.length, this.limits.messageBytesMax);
    // Not from Node's buffer pool: a small incomplete message would retain a whole pool.
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, wanted));
    this.#message.copy(larger, 0, 0, this.#messageLength);
    this.#message = larger;
  }

  #endFrame(): Violation | undefined {
    this.#state = READ_OPCODE;
    const control = this.#control;
    this.#control = NOTHING;
    switch (this.#opcode) {
      case OPCODES.ping:
        this.sink.onPing(control);
        return undefined;
      case OPCODES.pong:
        this.sink.onPong(control);
        return undefined;
      case OPCODES.close:
        return this.#close(control);
      default:
        return this.#isFinal ? this.#endMessage() : undefined;
    }
  }

  #endMessage(): Violation | undefined {
    const payload = this.#message.subarray(0, this.#messageLength);
    const isText = this.#messageOpcode === OPCODES.text;
    this.#forgetMessage();
    // RFC 6455 §8.1. Checked once, at the end: messages are short, and a check per fragment would
    // start over each time.
    if (isText && !isUtf8(payload)) return violation(1007, 'text is not UTF-8');
    this.sink.onMessage(payload, isText);
    return undefined;
  }

  /** §5.5.1, §7.4 */
  #close(body: Buffer): Violation | undefined {
    if (body.length === 1) return violation(1002, 'close frame with a code of one byte');
    const code = body.length === 0 ? NO_CLOSE_CODE : body.readUInt16BE(0);
    if (body.length > 0 && !isCloseCode(code)) return violation(1002, `invalid close code ${code}`);
    const reason = body.subarray(2);
    if (!isUtf8(reason)) return violation(1007, 'close reason is not UTF-8');
    this.#becomeClosed();
    this.sink.onClose(code, reason.toString());
    return undefined;
  }

  #becomeClosed(): void {
    this.#state = CLOSED;
    this.#control = NOTHING;
    this.#forgetMessage();
  }

  #forgetMessage(): void {
    this.#message = NOTHING;
    this.#messageLength = this.#messageOpcode = this.#fragments = 0;
  }

  get #isControl(): boolean {
    return this.#opcode >= OPCODES.close;
  }
}

/** Codes that an endpoint may send (RFC 6455 §7.4); 1012 to 1014 were registered later (IANA). */
function isCloseCode(code: number): boolean {
  if (code >= 3000) return code < 5000;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

function violation(closeCode: Violation['closeCode'], reason: string): Violation {
  return { closeCode, reason };
}
