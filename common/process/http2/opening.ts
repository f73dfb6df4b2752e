/**
 * The first bytes of a connection, up to its first request, which decides who has the connection:
 * this process's own HTTP/2, or the library of gRPC. The library is the better one for a connection
 * of streams: within our own, its streams would cost a second HTTP/2 connection
 * (`library-streams.ts`).
 *
 * Clients wait for SETTINGS before their first request, so those are sent here. The library sends
 * its own once more, and must not read the answer to ours.
 */
import type { Socket } from 'node:net';
import { HpackDecoder } from './hpack-decoder.js';
import { FLAG, FRAME, FRAME_HEAD_BYTES, Http2Error, PREFACE, settingsFrame } from './protocol.js';

export interface OpeningOptions {
  readonly streamsMax: number;
  readonly isOwn: (path: string) => boolean;
  /** @param received what the client has sent so far */
  readonly onOwn: (received: Buffer) => void;
  /** The socket has what the client has sent. */
  readonly onLibrary: () => void;
}

/**
 * Time for the first request after the client's settings, which are not answered until then. A
 * client that is slower has our own HTTP/2.
 */
const REQUEST_MS = 100;
const BYTES_MAX = 65_536;

export function openConnection(socket: Socket, options: OpeningOptions): void {
  let received: Buffer = Buffer.alloc(0);
  let timer: NodeJS.Timeout | undefined;
  const finish = () => {
    clearTimeout(timer);
    socket.removeListener('data', onData).removeListener('error', ignore);
    socket.removeListener('close', onClose);
  };
  const onClose = () => clearTimeout(timer);
  const takeOwn = () => {
    finish();
    options.onOwn(received);
  };
  const onData = (bytes: Buffer) => {
    received = received.length === 0 ? bytes : Buffer.concat([received, bytes]);
    const read = readOpening(received);
    if (read === 'more' && received.length < BYTES_MAX) return;
    if (read === 'settings' && received.length < BYTES_MAX) {
      timer ??= setTimeout(takeOwn, REQUEST_MS);
    } else if (typeof read !== 'object' || options.isOwn(read.path)) takeOwn();
    else {
      finish();
      socket.pause();
      socket.unshift(
        Buffer.concat([received.subarray(0, read.ackAt), received.subarray(read.ackEnd)]),
      );
      options.onLibrary();
    }
  };
  socket.write(settingsFrame(options.streamsMax));
  socket.on('data', onData).on('error', ignore).on('close', onClose);
}

function ignore(): void {}

interface FirstRequest {
  readonly path: string;
  /** The answer to our settings. */
  readonly ackAt: number;
  readonly ackEnd: number;
}

/**
 * Returns the first request; 'more' before the client's settings, and 'settings' after them, while
 * the request is incomplete; 'other' for anything else, valid or not, before the request.
 */
export function readOpening(bytes: Buffer): FirstRequest | 'more' | 'settings' | 'other' {
  if (!bytes.subarray(0, PREFACE.length).equals(PREFACE.subarray(0, bytes.length))) return 'other';
  let hasSettings = false;
  let ackAt = 0;
  for (let at = PREFACE.length; at + FRAME_HEAD_BYTES <= bytes.length; ) {
    const start = at + FRAME_HEAD_BYTES;
    const end = start + bytes.readUIntBE(at, 3);
    const type = bytes[at + 3];
    const flags = bytes[at + 4]!;
    if (end > bytes.length) break;
    if (type === FRAME.headers) {
      const path = ackAt > 0 ? pathOf(flags, bytes, start, end) : undefined;
      return path === undefined ? 'other' : { path, ackAt, ackEnd: ackAt + FRAME_HEAD_BYTES };
    }
    if (type === FRAME.settings && flags & FLAG.ack) {
      if (ackAt > 0 || end > start) return 'other';
      ackAt = at;
    } else if (type === FRAME.settings) hasSettings = true;
    else if (type !== FRAME.windowUpdate) return 'other';
    at = end;
  }
  return hasSettings ? 'settings' : 'more';
}

/** Undefined: the headers are not as plain as those of a gRPC client. */
function pathOf(flags: number, bytes: Buffer, start: number, end: number): string | undefined {
  if (!(flags & FLAG.endHeaders) || flags & (FLAG.padded | FLAG.priority)) return undefined;
  try {
    const fields = new HpackDecoder(BYTES_MAX).decode(bytes, start, end);
    return fields?.find(({ name }) => name === ':path')?.value;
  } catch (error) {
    if (error instanceof Http2Error) return undefined;
    throw error;
  }
}
