/**
 * Encoder for the frames that an edge sends (RFC 6455 §5.2): never fragmented, never masked (§5.1).
 * Header and payload are in one buffer, so a payload is copied once and a frame is one write.
 */
import { CONTROL_BYTES_MAX, LENGTH_16, LENGTH_64, OPCODES } from './frame.js';

const FINAL = 0x80;

/** Maximum reason: a control frame without its close code (§5.5.1). */
export const CLOSE_REASON_BYTES_MAX = CONTROL_BYTES_MAX - 2;

/** Keeps NAT and proxy state alive, and detects dead peers. */
export const EMPTY_PING = frame(OPCODES.ping, Buffer.alloc(0));

export function binaryFrame(payload: Buffer): Buffer {
  return frame(OPCODES.binary, payload);
}

/** @param payload UTF-8 */
export function textFrame(payload: string | Buffer): Buffer {
  return frame(OPCODES.text, payload);
}

/** @param payload at most 125 bytes */
export function pingFrame(payload: string): Buffer {
  return frame(OPCODES.ping, payload);
}

/** @param payload payload of the ping (§5.5.3) */
export function pongFrame(payload: Buffer): Buffer {
  return frame(OPCODES.pong, payload);
}

/** @param reason at most `CLOSE_REASON_BYTES_MAX` bytes */
export function closeFrame(code: number, reason = ''): Buffer {
  const body = Buffer.alloc(2 + Buffer.byteLength(reason));
  body.writeUInt16BE(code, 0);
  body.write(reason, 2);
  return frame(OPCODES.close, body);
}

/** Returns the size of the payload of a frame from here. */
export function payloadBytes(encoded: Buffer): number {
  const length = encoded[1]!;
  if (length < LENGTH_16) return encoded.length - 2;
  return encoded.length - (length === LENGTH_16 ? 4 : 10);
}

function frame(opcode: number, payload: string | Buffer): Buffer {
  const length = Buffer.byteLength(payload);
  const headerLength = length < LENGTH_16 ? 2 : length < 0x1_0000 ? 4 : 10;
  const encoded = Buffer.allocUnsafe(headerLength + length);
  encoded[0] = FINAL | opcode;
  if (headerLength === 2) {
    encoded[1] = length;
  } else if (headerLength === 4) {
    encoded[1] = LENGTH_16;
    encoded.writeUInt16BE(length, 2);
  } else {
    encoded[1] = LENGTH_64;
    encoded.writeUInt32BE(Math.floor(length / 2 ** 32), 2);
    encoded.writeUInt32BE(length % 2 ** 32, 6);
  }
  if (typeof payload === 'string') encoded.write(payload, headerLength);
  else payload.copy(encoded, headerLength);
  return encoded;
}
