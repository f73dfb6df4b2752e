/**
 * The envelopes of pushes (`ShardEnvelope` with a `PushBody`), written and read by hand: nothing else
 * is sent as often, and the generated code makes several objects for each and copies the payload.
 * Pure.
 *
 * The payload comes last, so that the script that stores a push receives it once: the end of the
 * envelope is the payload of the entry.
 */
import { isSealIntact, SEAL_BYTES, sealedEnd, writeSeal } from './sealed-message.js';

/** Tags of a ShardEnvelope (number and wire type of a field), in the order in which it is written. */
const [QUERY_ID, REPLY_CHANNEL, CLIENT_ID, PUSH] = [0x08, 0x12, 0x1a, 0x22] as const;
/** Those of its PushBody. */
const [CONTENT_TYPE, TTL_MS, PAYLOAD] = [0x12, 0x18, 0x0a] as const;
/** Those that the script appends: the id, the number, and both together once more. */
const [ID, SEQ, COPY] = [0x42, 0x4a, 0x62] as const;

export interface SentPush {
  /** 0: no reply is requested. */
  readonly queryId: number;
  /** Empty: no reply is requested. */
  readonly replyChannel: string;
  readonly clientId: string;
  readonly contentType: string;
  /** 0: live only. */
  readonly ttlMs: number;
  readonly payload: Uint8Array;
}

export interface ReceivedPush extends SentPush {
  /** A part of the bytes that were read, not a copy. */
  readonly payload: Buffer;
  /** Empty: live only. */
  readonly id: string;
  /** Number of the push in its shard; 0: live only. */
  readonly seq: number;
}

/** Encodes the envelope of a push and seals it. */
export function sealPush(push: SentPush): Buffer {
  const { queryId, replyChannel, clientId, contentType, ttlMs, payload } = push;
  const replyBytes = Buffer.byteLength(replyChannel);
  const clientBytes = Buffer.byteLength(clientId);
  const typeBytes = Buffer.byteLength(contentType);
  const bodyBytes =
    (typeBytes > 0 ? sizeWithLength(typeBytes) : 0) +
    (ttlMs > 0 ? 1 + varintSize(ttlMs) : 0) +
    sizeWithLength(payload.length);
  const bytes = Buffer.allocUnsafe(
    SEAL_BYTES +
      (queryId > 0 ? 1 + varintSize(queryId) : 0) +
      (replyBytes > 0 ? sizeWithLength(replyBytes) : 0) +
      sizeWithLength(clientBytes) +
      sizeWithLength(bodyBytes),
  );
  let at = SEAL_BYTES;
  if (queryId > 0) at = writeVarint(bytes, at, QUERY_ID, queryId);
  if (replyBytes > 0) {
    at = writeVarint(bytes, at, REPLY_CHANNEL, replyBytes);
    at += bytes.write(replyChannel, at);
  }
  at = writeVarint(bytes, at, CLIENT_ID, clientBytes);
  at += bytes.write(clientId, at);
  at = writeVarint(bytes, at, PUSH, bodyBytes);
  if (typeBytes > 0) {
    at = writeVarint(bytes, at, CONTENT_TYPE, typeBytes);
    at += bytes.write(contentType, at);
  }
  if (ttlMs > 0) at = writeVarint(bytes, at, TTL_MS, ttlMs);
  bytes.set(payload, writeVarint(bytes, at, PAYLOAD, payload.length));
  writeSeal(bytes);
  return bytes;
}

/**
 * Reads the envelope of a push. Undefined for anything but intact bytes of exactly the form that
 * `sealPush` and the script write: the generated code reads the envelopes of other versions.
 */
export function readPush(bytes: Buffer): ReceivedPush | undefined {
  const end = sealedEnd(bytes);
  if (end === undefined) return undefined;
  const reader = new Reader(bytes, SEAL_BYTES);
  const queryId = reader.varint(QUERY_ID);
  const replyChannel = reader.text(REPLY_CHANNEL);
  const clientId = reader.text(CLIENT_ID);
  const bodyBytes = reader.varint(PUSH);
  if (bodyBytes === 0 || reader.at + bodyBytes !== end) return undefined;
  const contentType = reader.text(CONTENT_TYPE);
  const ttlMs = reader.varint(TTL_MS);
  const payloadBytes = reader.varint(PAYLOAD);
  if (reader.at + payloadBytes !== end) return undefined;
  // Last, because it costs most: this is a push or has become one by a flipped bit.
  if (!isSealIntact(bytes, end) || !isIntactAppendix(bytes, end)) return undefined;
  const payload = bytes.subarray(reader.at, end);
  reader.at = end;
  const id = reader.text(ID);
  const seq = Number(reader.text(SEQ));
  return { queryId, replyChannel, clientId, contentType, ttlMs, payload, id, seq };
}

/**
 * Whether what the script has appended to the sealed part is as it wrote it: id, number, and both
 * together once more. Nothing is appended to an envelope that is not stored.
 * @param from the end of the sealed part
 */
export function isIntactAppendix(bytes: Buffer, from: number): boolean {
  if (from === bytes.length) return true;
  const idAt = from + 2;
  const seqAt = idAt + bytes[from + 1]! + 2;
  const copyAt = seqAt + (bytes[seqAt - 1] ?? 0) + 2;
  const idBytes = seqAt - 2 - idAt;
  const copyBytes = idBytes + copyAt - 2 - seqAt;
  if (bytes[from] !== ID || bytes[seqAt - 2] !== SEQ || bytes[copyAt - 2] !== COPY) return false;
  if (bytes[copyAt - 1] !== copyBytes || copyAt + copyBytes !== bytes.length) return false;
  for (let i = 0; i < copyBytes; i++) {
    const original = i < idBytes ? idAt + i : seqAt + i - idBytes;
    if (bytes[copyAt + i] !== bytes[original]) return false;
  }
  return true;
}

class Reader {
  constructor(
    readonly bytes: Buffer,
    /** Where the next field starts. */
    public at: number,
  ) {}

  /** Reads a number, or the length of a field, if this tag is next; else returns 0. */
  varint(tag: number): number {
    if (this.bytes[this.at] !== tag) return 0;
    let value = 0;
    let scale = 1;
    let byte: number;
    do {
      byte = this.bytes[++this.at] ?? 0;
      value += (byte & 0x7f) * scale;
      scale *= 128;
    } while (byte >= 0x80);
    this.at++;
    return value;
  }

  /** Reads a text if this tag is next; else returns an empty one. */
  text(tag: number): string {
    const length = this.varint(tag);
    if (length === 0) return '';
    const from = this.at;
    this.at += length;
    return this.bytes.toString('utf8', from, this.at);
  }
}

/** Bytes of a field with a length: its tag, its length and its content. */
function sizeWithLength(length: number): number {
  return 1 + varintSize(length) + length;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest /= 128) size++;
  return size;
}

/** Returns where the next byte belongs. */
function writeVarint(bytes: Buffer, from: number, tag: number, value: number): number {
  let at = from;
  bytes[at++] = tag;
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes[at++] = (rest % 128) | 0x80;
  bytes[at++] = rest;
  return at;
}
