/** Reads the payloads of frames that have more than one part (RFC 9113 §6). */
import { ERROR, FLAG, Http2Error, SETTING, WINDOW_BYTES_MAX } from './protocol.js';

/** Payload of DATA and HEADERS (§6.1). */
export function withoutPadding(flags: number, bytes: Buffer, start: number, end: number): Buffer {
  if (!(flags & FLAG.padded)) return bytes.subarray(start, end);
  const dataEnd = end - (bytes[start] ?? 0);
  if (start >= end || dataEnd < start + 1) throw protocolError('more padding than the frame has');
  return bytes.subarray(start + 1, dataEnd);
}

export function dependencyOf(priority: Buffer): number {
  return priority.readUInt32BE() & WINDOW_BYTES_MAX;
}

export function protocolError(message: string): Http2Error {
  return new Http2Error(ERROR.protocol, message);
}

export function frameSizeError(name: string): Http2Error {
  return new Http2Error(ERROR.frameSize, `${name} has a wrong size`);
}

/**
 * Returns the settings of a client that matter to a server which encodes headers without a table,
 * and sends no frame above the least maximum.
 * @throws Http2Error
 */
export function readSettings(payload: Buffer): { initialWindowSize: number | undefined } {
  if (payload.length % 6 !== 0) throw frameSizeError('SETTINGS');
  let initialWindowSize: number | undefined;
  for (let at = 0; at < payload.length; at += 6) {
    const id = payload.readUInt16BE(at);
    const value = payload.readUInt32BE(at + 2);
    if (id === SETTING.enablePush && value > 1) throw protocolError('ENABLE_PUSH is 0 or 1');
    if (id === SETTING.maxFrameSize && (value < 16_384 || value > 16_777_215)) {
      throw protocolError('MAX_FRAME_SIZE is between 2^14 and 2^24-1');
    }
    if (id !== SETTING.initialWindowSize) continue;
    if (value > WINDOW_BYTES_MAX) {
      throw new Http2Error(ERROR.flowControl, 'INITIAL_WINDOW_SIZE is at most 2^31-1');
    }
    initialWindowSize = value;
  }
  return { initialWindowSize };
}
