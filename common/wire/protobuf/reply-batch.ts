/**
 * The replies of an edge to shard queries (`PrivateEnvelope` with a `ReplyBatch`), written and read
 * by hand where all of them say only what became of a push: each push has one, and the generated
 * code makes a BigInt of its number and several objects. Pure.
 */
import {
  PrivateEnvelope,
  type Reply,
  type ReplyBatch,
} from '../../../proto/gen/longline/v1/envelope.js';
import { isSealIntact, SEAL_BYTES, seal, sealedEnd, writeSeal } from '../sealed-message.js';
import { FieldReader, sizeWithLength, varintSize, writeVarint } from './fields.js';

/** Tags (number and wire type of a field): of the batch in the envelope, and in the batch. */
const [REPLIES, EDGE_ID, REPLY] = [0x0a, 0x0a, 0x12] as const;
/** Those of a Reply, in the order in which it is written; a body without fields comes last. */
const [QUERY_ID, OWNER, OTHERS, UNINVOLVED] = [0x08, 0x10, 0x68, 0x70] as const;
/** The bodies that have no fields, by their tags. Shared by all replies. */
const BODIES: readonly (Reply['body'] | undefined)[] = Object.assign([], {
  26: { $case: 'absent', value: {} },
  34: { $case: 'written', value: {} },
  42: { $case: 'slow', value: {} },
  58: { $case: 'closed', value: {} },
  66: { $case: 'catchingUp', value: {} },
  90: { $case: 'dropped', value: {} },
} satisfies Record<number, Reply['body']>);
const TAGS = new Map(
  BODIES.flatMap((body, tag) => (body === undefined ? [] : [[body.$case, tag]])),
);
const BODY_BYTES = 2;

/** Replies in this form name none. */
const NO_EDGES: string[] = [];

/** Encodes a batch and seals it. */
export function sealReplies({ edgeId, replies }: ReplyBatch): Buffer {
  if (!replies.every(isPlain)) {
    const body = { $case: 'replies', value: { edgeId, replies } } as const;
    return seal(PrivateEnvelope.encode({ body }).finish());
  }
  const edgeBytes = Buffer.byteLength(edgeId);
  let batchBytes = edgeBytes > 0 ? sizeWithLength(edgeBytes) : 0;
  for (const reply of replies) batchBytes += sizeWithLength(sizeOf(reply));
  const bytes = Buffer.allocUnsafe(SEAL_BYTES + sizeWithLength(batchBytes));
  let at = writeVarint(bytes, SEAL_BYTES, REPLIES, batchBytes);
  if (edgeBytes > 0) {
    at = writeVarint(bytes, at, EDGE_ID, edgeBytes);
    at += bytes.write(edgeId, at);
  }
  for (const reply of replies) {
    const { queryId, owner, others, uninvolved, body } = reply;
    at = writeVarint(bytes, at, REPLY, sizeOf(reply));
    if (queryId > 0) at = writeVarint(bytes, at, QUERY_ID, queryId);
    if (owner) at = writeVarint(bytes, at, OWNER, 1);
    if (others > 0) at = writeVarint(bytes, at, OTHERS, others);
    if (uninvolved) at = writeVarint(bytes, at, UNINVOLVED, 1);
    at = writeVarint(bytes, at, TAGS.get(body!.$case)!, 0);
  }
  writeSeal(bytes);
  return bytes;
}

/**
 * Reads a batch. Undefined for anything but intact bytes of exactly the form that is written by
 * hand: the generated code reads the others.
 */
export function readReplies(bytes: Buffer): ReplyBatch | undefined {
  const end = sealedEnd(bytes);
  if (end !== bytes.length || !isSealIntact(bytes, end)) return undefined;
  const reader = new FieldReader(bytes, SEAL_BYTES);
  const batchBytes = reader.varint(REPLIES);
  if (batchBytes === 0 || reader.at + batchBytes !== end) return undefined;
  const edgeId = reader.text(EDGE_ID);
  const replies: Reply[] = [];
  while (reader.at < end) {
    const replyBytes = reader.varint(REPLY);
    const replyEnd = reader.at + replyBytes;
    if (replyBytes === 0 || replyEnd > end) return undefined;
    const queryId = reader.varint(QUERY_ID);
    const owner = reader.varint(OWNER) === 1;
    const others = reader.varint(OTHERS);
    const uninvolved = reader.varint(UNINVOLVED) === 1;
    const body = BODIES[bytes[reader.at]!];
    if (body === undefined || bytes[reader.at + 1] !== 0) return undefined;
    reader.at += BODY_BYTES;
    if (reader.at !== replyEnd) return undefined;
    const [otherEdges, times] = [NO_EDGES, undefined];
    replies.push({ queryId, owner, others, uninvolved, otherEdges, body, times });
  }
  return { edgeId, replies };
}

function isPlain({ otherEdges, body, times }: Reply): boolean {
  const hasMore = otherEdges.length > 0 || times !== undefined;
  return !hasMore && body !== undefined && TAGS.has(body.$case);
}

function sizeOf({ queryId, owner, others, uninvolved }: Reply): number {
  return (
    (queryId > 0 ? 1 + varintSize(queryId) : 0) +
    (owner ? 2 : 0) +
    (others > 0 ? 1 + varintSize(others) : 0) +
    (uninvolved ? 2 : 0) +
    BODY_BYTES
  );
}
