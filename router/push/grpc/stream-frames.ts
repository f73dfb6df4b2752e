/**
 * Messages of a PushStream call, called frames. The stream must not end for one bad push, so a
 * frame is decoded item by item: what is wrong with one item, or with the rest of a frame, becomes
 * a rejection in its place.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { type ErrorCode, rejection } from '../../../common/process/errors.js';
import { strictReader } from '../../../common/process/grpc/strict-strings.js';
import { PushStreamItem } from '../../../proto/gen/longline/v1/push.js';
import type { RejectedItem, StreamItem } from '../push-stream.js';

/** Field number of PushStreamRequest.items, and of PushStreamItem.correlation_id. */
const ITEMS = 1;
const CORRELATION_ID = 1;
/** Stands for items whose correlation_id could not be read. */
const NO_CORRELATION_ID = '0';

/** Stand for the contents of a message that was not read. */
export const TOO_LARGE = Buffer.alloc(0);
export const UNDECOMPRESSED = Buffer.alloc(0);

export interface Frame {
  readonly items: readonly StreamItem[];
  /** Size of the message. */
  readonly bytes: number;
}

/** Decodes a message. Never throws. */
export function decodeFrame(bytes: Buffer): Frame {
  if (bytes === TOO_LARGE) return unread('PAYLOAD_TOO_LARGE', 'the message is too large');
  if (bytes === UNDECOMPRESSED) {
    return unread('REQUEST_MALFORMED', 'the message cannot be decompressed');
  }
  return { items: decodeItems(bytes), bytes: bytes.length };
}

function unread(code: ErrorCode, message: string): Frame {
  return { items: [rejectedItem(NO_CORRELATION_ID, code, message)], bytes: 0 };
}

function decodeItems(bytes: Uint8Array): StreamItem[] {
  const items: StreamItem[] = [];
  // One reader for all items: a reader for each would double the cost of a small push.
  const reader = strictReader(bytes);
  let start = 0;
  try {
    while (reader.pos < reader.len) {
      start = reader.pos;
      const [field, type] = reader.tag();
      if (field === ITEMS && type === WireType.LengthDelimited)
        items.push(decodeItem(bytes, reader));
      else reader.skip(type, field);
      if (reader.pos > reader.len) throw new RangeError('the message is truncated');
    }
  } catch {
    const message = `the message cannot be decoded from byte ${start} of ${bytes.length} on`;
    items.push(rejectedItem(NO_CORRELATION_ID, 'REQUEST_MALFORMED', message));
  }
  return items;
}

function rejectedItem(correlationId: string, code: ErrorCode, message: string): RejectedItem {
  return { correlationId, rejected: rejection(code, message) };
}

/** @throws RangeError when the item is longer than the message */
function decodeItem(bytes: Uint8Array, reader: BinaryReader): StreamItem {
  const length = reader.uint32();
  const start = reader.pos;
  const end = start + length;
  if (end > reader.len) throw new RangeError('the message is truncated');
  try {
    const item = PushStreamItem.decode(reader, length);
    // Otherwise it has read into the next item, or stopped before the end of this one.
    if (reader.pos === end) return item;
  } catch {
    // The rejection below answers it.
  }
  reader.pos = end;
  const message = 'the item cannot be decoded, or has a string that is not UTF-8';
  const correlationId = findCorrelationId(bytes.subarray(start, end));
  return rejectedItem(correlationId, 'REQUEST_MALFORMED', message);
}

/** Reads the last correlation_id before the fault, as it is the one that counts. */
function findCorrelationId(bytes: Uint8Array): string {
  const reader = new BinaryReader(bytes);
  let found = NO_CORRELATION_ID;
  try {
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (field === CORRELATION_ID && type === WireType.Varint) found = `${reader.uint64()}`;
      else reader.skip(type, field);
    }
  } catch {
    // The item is malformed here; the id that was read before it counts.
  }
  return found;
}
