/**
 * Takes the messages of sharded channels out of what a connection to Redis reads, before ioredis
 * decodes it: its decoder takes five times as long for a message, and most of what a subscriber
 * reads are messages. Everything else is passed on, frame by frame. Pure but for `filterMessages`.
 *
 * A message is an array or a push (RESP 3) of three bulk strings: smessage, channel, payload.
 */
import assert from 'node:assert';
import type { Redis } from 'ioredis';

type OnMessage = (channel: string, payload: Buffer) => void;

const [CR, LF, ZERO] = [0x0d, 0x0a, 0x30] as const;
/** Start of a message after its type. */
const HEAD = Buffer.from('3\r\n$8\r\nsmessage\r\n');
const PUSH = typeOf('>');
const ARRAY = typeOf('*');
const WITH_BYTES: readonly number[] = ['$', '!', '='].map(typeOf);
/** Types with other frames inside, and how many for each that they count. */
const NESTED = new Map([PUSH, ARRAY, typeOf('~')].map((type) => [type, 1])).set(typeOf('%'), 2);

/**
 * Calls `onMessage` for each message of a sharded channel. To be called in the turn in which the
 * client was created; ioredis then emits no `smessageBuffer`.
 */
export function filterMessages(redis: Redis, onMessage: OnMessage): void {
  redis.on('connect', () => {
    const { stream } = redis;
    // The first listener is the decoder of ioredis; the others only watch for silence.
    const decode = stream.listeners('data')[0] as ((bytes: Buffer) => void) | undefined;
    assert(decode !== undefined, 'ioredis reads a connection in another way than before');
    stream.off('data', decode);
    const filter = new MessageFilter(onMessage, decode);
    stream.prependListener('data', (bytes: Buffer) => filter.write(bytes));
  });
}

export class MessageFilter {
  /** Start of a frame whose end has not arrived. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  /** Minimum size of that frame. */
  #bytesMin = 0;

  constructor(
    readonly onMessage: OnMessage,
    readonly passOn: (frame: Buffer) => void,
  ) {}

  write(chunk: Buffer): void {
    this.#parts.push(chunk);
    this.#partBytes += chunk.length;
    if (this.#partBytes < this.#bytesMin) return;
    const bytes = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts);
    let at = 0;
    let end = 0;
    while (at < bytes.length) {
      end = isMessage(bytes, at) ? this.#takeMessage(bytes, at) : this.#takeOther(bytes, at);
      if (end > bytes.length) break;
      at = end;
    }
    this.#partBytes = bytes.length - at;
    this.#parts = this.#partBytes === 0 ? [] : [bytes.subarray(at)];
    this.#bytesMin = end - at;
  }

  /** Returns where the frame ends, or, if that is not known yet, the first byte that is missing. */
  #takeMessage(bytes: Buffer, from: number): number {
    const channelFrom = lineEnd(bytes, from + 1 + HEAD.length);
    if (channelFrom > bytes.length) return channelFrom;
    const channelTo = channelFrom + numberAt(bytes, from + 2 + HEAD.length);
    const payloadFrom = lineEnd(bytes, channelTo + 2);
    if (payloadFrom > bytes.length) return payloadFrom;
    const payloadTo = payloadFrom + numberAt(bytes, channelTo + 3);
    if (payloadTo + 2 > bytes.length) return payloadTo + 2;
    const channel = bytes.toString('utf8', channelFrom, channelTo);
    this.onMessage(channel, bytes.subarray(payloadFrom, payloadTo));
    return payloadTo + 2;
  }

  #takeOther(bytes: Buffer, from: number): number {
    const end = frameEnd(bytes, from);
    if (end <= bytes.length) this.passOn(bytes.subarray(from, end));
    return end;
  }
}

function isMessage(bytes: Buffer, from: number): boolean {
  if (bytes[from] !== PUSH && bytes[from] !== ARRAY) return false;
  for (let i = 0; i < HEAD.length; i++) {
    if (bytes[from + 1 + i] !== HEAD[i]) return false;
  }
  return true;
}

/** Where a frame ends; beyond the last byte if that is not known yet. */
function frameEnd(bytes: Buffer, from: number): number {
  let end = lineEnd(bytes, from);
  if (end > bytes.length) return end;
  const type = bytes[from]!;
  const count = numberAt(bytes, from + 1);
  // -1: null
  if (WITH_BYTES.includes(type)) return count < 0 ? end : end + count + 2;
  for (let i = count * (NESTED.get(type) ?? 0); i > 0 && end <= bytes.length; i--) {
    end = frameEnd(bytes, end);
  }
  return end;
}

/** Where the next line starts; beyond the last byte if that is not known yet. */
function lineEnd(bytes: Buffer, from: number): number {
  for (let at = from; at < bytes.length; at++) if (bytes[at] === LF) return at + 1;
  return Math.max(from, bytes.length) + 1;
}

/** The number that the rest of a line has; any for a line without one. */
function numberAt(bytes: Buffer, from: number): number {
  let value = 0;
  for (let at = from; at < bytes.length && bytes[at] !== CR; at++) {
    // A minus occurs in the length of null only.
    if (bytes[at]! < ZERO) return -1;
    value = 10 * value + bytes[at]! - ZERO;
  }
  return value;
}

function typeOf(character: string): number {
  return character.charCodeAt(0);
}
