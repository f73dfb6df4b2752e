/**
 * Reads the frames that a device sends (RFC 6455 §5): a machine whose states are in wire order. It
 * asks for no more than one byte at a time of a header, and copies a payload once, unmasked.
 *
 * The hard thing is memory. A reader holds bytes only of a frame or message that is not complete, and
 * whoever drives it forgets an idle one, so that a connection which says nothing costs nothing. What
 * it may hold is checked before it is held, and a message has one buffer, however many fragments it
 * comes in: a fragment of one byte costs one byte.
 *
 * Invariants:
 * - `isIdle` is true exactly between messages: a new reader would read on in the same way;
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

/** RFC 6455 §7.4.1: stands for a close frame without a code; never on the wire. */
export const NO_CLOSE_CODE = 1005;

export interface FrameLimits {
  /** Payload bytes of one message, all its fragments together. */
  readonly messageBytesMax: number;
  /** Frames of one message, empty ones included: they cost time, if not memory. */
  readonly fragmentsMax: number;
}

/** What has been read. The buffers are the sink's to keep. */
export interface FrameSink {
  onMessage(payload: Buffer, isText: boolean): void;
  onPing(payload: Buffer): void;
  onPong(payload: Buffer): void;
  /** The peer closes; nothing more is read. */
  onClose(code: number, reason: string): void;
}

/** Why the connection must be failed (RFC 6455 §7.1.7). */
export interface Violation {
  /** Of RFC 6455 §7.4. */
  readonly closeCode: 1002 | 1003 | 1007 | 1008 | 1009 | 1013;
  /** At most 123 bytes. */
  readonly why: string;
}

const READ_OPCODE = 0;
const READ_LENGTH = 1;
const READ_LENGTH_16 = 2;
const READ_LENGTH_64 = 3;
const READ_MASK = 4;
const READ_PAYLOAD = 5;
const OVER = 6;

/** RFC 6455 §5.5 */
export const CONTROL_BYTES_MAX = 125;
/** RFC 6455 §5.2: stand for a length in the 2, or the 8 bytes that follow. */
export const LENGTH_16 = 126;
export const LENGTH_64 = 127;

const NOTHING = Buffer.alloc(0);

export class FrameReader {
  #state = READ_OPCODE;
  /** Of the current frame. */
  #opcode: number = OPCODES.continuation;
  #isFinal = false;
  /** Payload bytes as announced; while its extended form is read, as far as that is known. */
  #length = 0;
  /** Bytes that are missing of the extended length or of the mask. */
  #missing = 0;
  #mask = 0;
  /** Payload bytes of the frame that have come: how far the mask is turned. */
  #done = 0;
  /** Payload of a control frame, which may come between the fragments of a message (§5.4). */
  #control = NOTHING;
  /** Of the current message: text or binary; 0: none has begun. */
  #messageOpcode = 0;
  #fragments = 0;
  #message = NOTHING;
  #messageLength = 0;

  constructor(
    readonly limits: FrameLimits,
    readonly sink: FrameSink,
  ) {}

  /** Nothing is incomplete: this reader may be forgotten, and another one go on. */
  get isIdle(): boolean {
    return this.#state === READ_OPCODE && this.#messageOpcode === 0;
  }

  /** Nothing is read any more: the peer has closed, or has broken the rules. */
  get isOver(): boolean {
    return this.#state === OVER;
  }

  /** @param bytes as they come; may change after the call. Returns what is wrong with them. */
  read(bytes: Uint8Array): Violation | undefined {
    let at = 0;
    while (at < bytes.length) {
      let violation: Violation | undefined;
      switch (this.#state) {
        case READ_OPCODE:
          violation = this.#readOpcode(bytes[at++]!);
          break;
        case READ_LENGTH:
          violation = this.#readLength(bytes[at++]!);
          break;
        case READ_LENGTH_16:
          violation = this.#readLongLength(bytes[at++]!, LENGTH_16);
          break;
        case READ_LENGTH_64:
          violation = this.#readLongLength(bytes[at++]!, 0x1_0000);
          break;
        case READ_MASK:
          violation = this.#readMask(bytes[at++]!);
          break;
        case READ_PAYLOAD: {
          const until = Math.min(bytes.length, at + this.#length - this.#done);
          violation = this.#readPayload(bytes.subarray(at, until));
          at = until;
          break;
        }
        case OVER:
          return undefined;
      }
      if (violation !== undefined) {
        this.#becomeOver();
        return violation;
      }
    }
    return undefined;
  }

  /** FIN, RSV and opcode (§5.2), and what follows from them and the message so far (§5.4). */
  #readOpcode(byte: number): Violation | undefined {
    if ((byte & 0x70) !== 0) return violated(1002, 'a reserved bit is set (RFC 6455 §5.2)');
    this.#isFinal = (byte & 0x80) !== 0;
    this.#opcode = byte & 0x0f;
    switch (this.#opcode) {
      case OPCODES.continuation:
        if (this.#messageOpcode === 0) {
          return violated(1002, 'a continuation of no message (RFC 6455 §5.4)');
        }
        break;
      case OPCODES.text:
      case OPCODES.binary:
        if (this.#messageOpcode !== 0) {
          return violated(1002, 'a message within a message (RFC 6455 §5.4)');
        }
        this.#messageOpcode = this.#opcode;
        break;
      case OPCODES.close:
      case OPCODES.ping:
      case OPCODES.pong:
        if (!this.#isFinal) return violated(1002, 'a control frame in fragments (RFC 6455 §5.5)');
        break;
      default:
        return violated(1002, `opcode ${this.#opcode} is reserved (RFC 6455 §5.2)`);
    }
    if (!this.#isControl && ++this.#fragments > this.limits.fragmentsMax) {
      return violated(1008, `a message of more than ${this.limits.fragmentsMax} fragments`);
    }
    this.#state = READ_LENGTH;
    return undefined;
  }

  /** The mask bit and the length, or how many bytes it has (§5.2). */
  #readLength(byte: number): Violation | undefined {
    if ((byte & 0x80) === 0) return violated(1002, 'a frame without mask (RFC 6455 §5.1)');
    const length = byte & 0x7f;
    if (this.#isControl && length > CONTROL_BYTES_MAX) {
      return violated(1002, 'a control frame of over 125 bytes (RFC 6455 §5.5)');
    }
    this.#length = length;
    if (length < LENGTH_16) return this.#haveLength();
    this.#length = 0;
    this.#missing = length === LENGTH_16 ? 2 : 8;
    this.#state = length === LENGTH_16 ? READ_LENGTH_16 : READ_LENGTH_64;
    return undefined;
  }

  /** @param least what does not fit into the shorter form, which must be used if it does (§5.2) */
  #readLongLength(byte: number, least: number): Violation | undefined {
    // Past 2^53 this is inexact, and rejected below all the same.
    this.#length = this.#length * 256 + byte;
    if (--this.#missing > 0) return undefined;
    if (this.#length < least) {
      return violated(1002, 'a length in more bytes than it needs (RFC 6455 §5.2)');
    }
    return this.#haveLength();
  }

  #haveLength(): Violation | undefined {
    const { messageBytesMax } = this.limits;
    if (!this.#isControl && this.#messageLength + this.#length > messageBytesMax) {
      return violated(1009, `a message of more than ${messageBytesMax} bytes`);
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
      this.#makeRoomFor(bytes.length);
      this.#unmask(bytes, this.#message, this.#messageLength);
      this.#messageLength += bytes.length;
    }
    this.#done += bytes.length;
    return this.#done === this.#length ? this.#endFrame() : undefined;
  }

  /** §5.3 */
  #unmask(from: Uint8Array, to: Buffer, at: number): void {
    for (let i = 0; i < from.length; i++) {
      const turn = (this.#done + i) & 3;
      to[at + i] = from[i]! ^ (this.#mask >>> (24 - 8 * turn));
    }
  }

  /** Twice as much each time, so that a message in tiny pieces is not copied once per piece. */
  #makeRoomFor(bytes: number): void {
    const needed = this.#messageLength + bytes;
    if (needed <= this.#message.length) return;
    const wanted = Math.min(2 * this.#message.length, this.limits.messageBytesMax);
    // Not from the pool of Node: a small piece that waits would hold a large one.
    const roomier = Buffer.allocUnsafeSlow(Math.max(needed, wanted));
    this.#message.copy(roomier, 0, 0, this.#messageLength);
    this.#message = roomier;
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
    // RFC 6455 §8.1. Once per message, at its end: it is short, and each look would begin anew.
    if (isText && !isUtf8(payload)) return violated(1007, 'text that is not UTF-8');
    this.sink.onMessage(payload, isText);
    return undefined;
  }

  /** §5.5.1, §7.4 */
  #close(body: Buffer): Violation | undefined {
    if (body.length === 1) return violated(1002, 'a close frame with half a code');
    const code = body.length === 0 ? NO_CLOSE_CODE : body.readUInt16BE(0);
    if (body.length > 0 && !isCloseCode(code)) return violated(1002, `the close code ${code}`);
    const reason = body.subarray(2);
    if (!isUtf8(reason)) return violated(1007, 'a close reason that is not UTF-8');
    this.#becomeOver();
    this.sink.onClose(code, reason.toString());
    return undefined;
  }

  #becomeOver(): void {
    this.#state = OVER;
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

/** RFC 6455 §7.4: those that may be sent. 1012 to 1014 were registered later with IANA. */
function isCloseCode(code: number): boolean {
  if (code >= 3000) return code < 5000;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

function violated(closeCode: Violation['closeCode'], why: string): Violation {
  return { closeCode, why };
}
