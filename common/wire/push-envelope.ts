/**
 * The envelopes of pushes (`ShardEnvelope` with a `PushBody`), written and read by hand: nothing
 * else is sent as often, and the generated code makes several objects for each and copies the
 * payload. Pure.
 *
 * The payload comes last, so that the script that stores a push receives it once: the end of the
 * envelope is the payload of the entry.
 */
import { TraceBody } from '../../proto/gen/longline/v1/envelope.js';
import { FieldReader, sizeWithLength, varintSize, writeVarint } from './protobuf/fields.js';
import { isSealIntact, SEAL_BYTES, sealedEnd, writeSeal } from './sealed-message.js';

/**
 * Tags of a ShardEnvelope (number and wire type of a field), in the order in which it is written.
 */
const [QUERY_ID, REPLY_CHANNEL, CLIENT_ID, PUSH] = [0x08, 0x12, 0x1a, 0x22] as const;
/** Those of its PushBody. */
const [CONTENT_TYPE, TTL_MS, PAYLOAD] = [0x12, 0x18, 0x0a] as const;
const [APPEND_TO, APPEND_END, COLLAPSIBLE, WHEN_SLOW] = [0x2a, 0x30, 0x38, 0x40] as const;
const TRACE = 0x4a;
/** Those that the script appends: the id, the number, an offset, and all together once more. */
const [ID, SEQ, OFFSET, COPY] = [0x42, 0x4a, 0x6a, 0x62] as const;

/** The part of an envelope about the push itself. */
export interface SentBody {
  readonly contentType: string;
  /** 0: live only. */
  readonly ttlMs: number;
  /** A `WhenSlow`; 0: the edge ends the connection. */
  readonly whenSlow: number;
  readonly payload: Uint8Array;
  /** Key of the growing message of which it is a part; empty: none. */
  readonly appendTo?: string;
  /** Whether it is the last part. */
  readonly appendEnd?: boolean;
  /** Whether it has a collapse key. */
  readonly collapsible?: boolean;
  /** Undefined: neither its times nor a span are asked for. */
  readonly trace?: TraceBody | undefined;
}

export interface SentPush extends SentBody {
  /** 0: no reply is requested. */
  readonly queryId: number;
  /** Empty: no reply is requested. */
  readonly replyChannel: string;
  readonly clientId: string;
}

/** Where a part of a growing message belongs. */
export interface Appended {
  /** Key of the message. */
  readonly to: string;
  /** Bytes of the message before this part. */
  readonly offset: number;
  /** Whether it is the last part. */
  readonly isEnd: boolean;
}

export interface ReceivedPush extends Omit<SentPush, 'appendTo' | 'appendEnd'> {
  /** A part of the bytes that were read, not a copy. */
  readonly payload: Buffer;
  /** Empty: live only. */
  readonly id: string;
  /** Number of the push in its shard; 0: live only. */
  readonly seq: number;
  /** Undefined: it is not a part of a growing message. */
  readonly appended: Appended | undefined;
}

/**
 * Encodes the envelope of a push and seals it.
 * @param queryId as in `SentPush`, and `replyChannel`
 */
export function sealPush(
  queryId: number,
  replyChannel: string,
  clientId: string,
  body: SentBody,
): Buffer {
  const { contentType, ttlMs, whenSlow, payload } = body;
  const { appendTo = '', appendEnd = false, collapsible = false } = body;
  const trace = body.trace && TraceBody.encode(body.trace).finish();
  const appendBytes = Buffer.byteLength(appendTo);
  const replyBytes = Buffer.byteLength(replyChannel);
  const clientBytes = Buffer.byteLength(clientId);
  const typeBytes = Buffer.byteLength(contentType);
  const bodyBytes =
    (typeBytes > 0 ? sizeWithLength(typeBytes) : 0) +
    (ttlMs > 0 ? 1 + varintSize(ttlMs) : 0) +
    (appendBytes > 0 ? sizeWithLength(appendBytes) : 0) +
    (appendEnd ? 2 : 0) +
    (collapsible ? 2 : 0) +
    (whenSlow > 0 ? 1 + varintSize(whenSlow) : 0) +
    (trace === undefined ? 0 : sizeWithLength(trace.length)) +
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
  if (appendBytes > 0) {
    at = writeVarint(bytes, at, APPEND_TO, appendBytes);
    at += bytes.write(appendTo, at);
  }
  if (appendEnd) at = writeVarint(bytes, at, APPEND_END, 1);
  if (collapsible) at = writeVarint(bytes, at, COLLAPSIBLE, 1);
  if (whenSlow > 0) at = writeVarint(bytes, at, WHEN_SLOW, whenSlow);
  if (trace !== undefined) {
    at = writeVarint(bytes, at, TRACE, trace.length);
    bytes.set(trace, at);
    at += trace.length;
  }
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
  const reader = new FieldReader(bytes, SEAL_BYTES);
  const queryId = reader.varint(QUERY_ID);
  const replyChannel = reader.text(REPLY_CHANNEL);
  const clientId = reader.text(CLIENT_ID);
  const bodyBytes = reader.varint(PUSH);
  if (bodyBytes === 0 || reader.at + bodyBytes !== end) return undefined;
  const contentType = reader.text(CONTENT_TYPE);
  const ttlMs = reader.varint(TTL_MS);
  const appendTo = reader.text(APPEND_TO);
  const appendEnd = reader.varint(APPEND_END) === 1;
  const collapsible = reader.varint(COLLAPSIBLE) === 1;
  const whenSlow = reader.varint(WHEN_SLOW);
  const trace = reader.part(TRACE);
  const payloadBytes = reader.varint(PAYLOAD);
  if (reader.at + payloadBytes !== end) return undefined;
  // Last, because it costs most: this is a push or has become one by a flipped bit.
  if (!isSealIntact(bytes, end) || !isIntactAppendix(bytes, end)) return undefined;
  const payload = bytes.subarray(reader.at, end);
  reader.at = end;
  const id = reader.text(ID);
  const seq = Number(reader.text(SEQ));
  const appended = appendedOf(appendTo, reader.text(OFFSET), appendEnd);
  return {
    queryId,
    replyChannel,
    clientId,
    contentType,
    ttlMs,
    whenSlow,
    payload,
    id,
    seq,
    appended,
    collapsible,
    trace: trace && readTrace(trace),
  };
}

/** A trace that cannot be decoded asks for nothing. */
function readTrace(bytes: Buffer): TraceBody | undefined {
  try {
    return TraceBody.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Appends ids and numbers to a sealed envelope, as the script does that stores a push. */
export function withNumber(envelope: Buffer, id: string, seq: string): Buffer {
  const bytes = Buffer.allocUnsafe(
    envelope.length +
      sizeWithLength(id.length) +
      sizeWithLength(seq.length) +
      sizeWithLength(id.length + seq.length),
  );
  envelope.copy(bytes);
  let at = envelope.length;
  for (const [tag, text] of [
    [ID, id],
    [SEQ, seq],
    [COPY, id + seq],
  ] as const) {
    at = writeVarint(bytes, at, tag, text.length);
    at += bytes.write(text, at, 'latin1');
  }
  return bytes;
}

/** From the fields of an envelope; `to` is empty for a push that is no part. */
export function appendedOf(to: string, offset: string, isEnd: boolean): Appended | undefined {
  return to === '' ? undefined : { to, offset: Number(offset), isEnd };
}

/**
 * Whether what the script has appended to the sealed part is as it wrote it: id, number, the offset
 * of a part of a growing message, and all together once more. Nothing is appended to an envelope
 * that is not stored.
 * @param from the end of the sealed part
 */
export function isIntactAppendix(bytes: Buffer, from: number): boolean {
  if (from === bytes.length) return true;
  const reader = new FieldReader(bytes, from);
  const idBytes = reader.varint(ID);
  const idAt = reader.at;
  reader.at += idBytes;
  const seqBytes = reader.varint(SEQ);
  const seqAt = reader.at;
  reader.at += seqBytes;
  const offsetBytes = reader.varint(OFFSET);
  const offsetAt = reader.at;
  reader.at += offsetBytes;
  const copyBytes = reader.varint(COPY);
  const copyAt = reader.at;
  if (idBytes === 0 || seqBytes === 0 || copyAt + copyBytes !== bytes.length) return false;
  return (
    copyBytes === idBytes + seqBytes + offsetBytes &&
    areEqual(bytes, idAt, copyAt, idBytes) &&
    areEqual(bytes, seqAt, copyAt + idBytes, seqBytes) &&
    areEqual(bytes, offsetAt, copyAt + idBytes + seqBytes, offsetBytes)
  );
}

function areEqual(bytes: Buffer, a: number, b: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[a + i] !== bytes[b + i]) return false;
  return true;
}
