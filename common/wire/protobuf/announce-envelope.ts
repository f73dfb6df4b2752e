/**
 * The envelopes of announcements (`ShardEnvelope` with an `AnnounceBody`), written and read by
 * hand: each connect has one, which comes back to the edge that sends it. Pure.
 */
import type { AnnounceBody, Announcement } from '../../../proto/gen/longline/v1/envelope.js';
import { isSealIntact, SEAL_BYTES, sealedEnd, writeSeal } from '../sealed-message.js';
import { FieldReader, sizeWithLength, varintSize, writeVarint } from './fields.js';

/** Tags (number and wire type of a field): of the body in the envelope, and in the body. */
const [ANNOUNCE, INCARNATION, ANNOUNCEMENT, HAS_CLIENTS, LEFT, OTHER_EDGE, CONNECTIONS_ENDED] = [
  0x3a, 0x0a, 0x12, 0x18, 0x20, 0x2a, 0x30,
] as const;
/** Those of an Announcement. */
const [CLIENT_ID, CONNECTION, RENEWED] = [0x0a, 0x10, 0x18] as const;

/** Encodes the envelope of announcements and seals it. */
export function sealAnnounce(body: AnnounceBody): Buffer {
  const { edgeIncarnation, announcements, hasClients, left, otherEdges, connectionsEnded } = body;
  const incarnationBytes = Buffer.byteLength(edgeIncarnation);
  let bodyBytes = (hasClients ? 2 : 0) + (left ? 2 : 0) + (connectionsEnded ? 2 : 0);
  if (incarnationBytes > 0) bodyBytes += sizeWithLength(incarnationBytes);
  for (const each of announcements) bodyBytes += sizeWithLength(sizeOf(each));
  for (const each of otherEdges) bodyBytes += sizeWithLength(Buffer.byteLength(each));
  const bytes = Buffer.allocUnsafe(SEAL_BYTES + sizeWithLength(bodyBytes));
  let at = writeVarint(bytes, SEAL_BYTES, ANNOUNCE, bodyBytes);
  if (incarnationBytes > 0) {
    at = writeVarint(bytes, at, INCARNATION, incarnationBytes);
    at += bytes.write(edgeIncarnation, at);
  }
  for (const each of announcements) {
    const { clientId, connection, renewed } = each;
    const clientBytes = Buffer.byteLength(clientId);
    at = writeVarint(bytes, at, ANNOUNCEMENT, sizeOf(each));
    if (clientBytes > 0) {
      at = writeVarint(bytes, at, CLIENT_ID, clientBytes);
      at += bytes.write(clientId, at);
    }
    if (connection > 0) at = writeVarint(bytes, at, CONNECTION, connection);
    if (renewed) at = writeVarint(bytes, at, RENEWED, 1);
  }
  if (hasClients) at = writeVarint(bytes, at, HAS_CLIENTS, 1);
  if (left) at = writeVarint(bytes, at, LEFT, 1);
  for (const each of otherEdges) {
    at = writeVarint(bytes, at, OTHER_EDGE, Buffer.byteLength(each));
    at += bytes.write(each, at);
  }
  if (connectionsEnded) writeVarint(bytes, at, CONNECTIONS_ENDED, 1);
  writeSeal(bytes);
  return bytes;
}

/**
 * Reads the envelope of announcements. Undefined for anything but intact bytes of exactly the form
 * that `sealAnnounce` writes: the generated code reads the others.
 */
export function readAnnounce(bytes: Buffer): AnnounceBody | undefined {
  const end = sealedEnd(bytes);
  if (end !== bytes.length || bytes[SEAL_BYTES] !== ANNOUNCE) return undefined;
  const reader = new FieldReader(bytes, SEAL_BYTES);
  const bodyBytes = reader.varint(ANNOUNCE);
  if (reader.at + bodyBytes !== end || !isSealIntact(bytes, end)) return undefined;
  const edgeIncarnation = reader.text(INCARNATION);
  const announcements: Announcement[] = [];
  while (bytes[reader.at] === ANNOUNCEMENT && reader.at < end) {
    const announcementEnd = reader.varint(ANNOUNCEMENT) + reader.at;
    const clientId = reader.text(CLIENT_ID);
    const connection = reader.varint(CONNECTION);
    // The field that follows the announcement may have the same tag.
    const renewed = reader.at < announcementEnd && reader.varint(RENEWED) === 1;
    if (reader.at !== announcementEnd) return undefined;
    announcements.push({ clientId, connection, renewed });
  }
  const hasClients = reader.varint(HAS_CLIENTS) === 1;
  const left = reader.varint(LEFT) === 1;
  const otherEdges: string[] = [];
  while (bytes[reader.at] === OTHER_EDGE && reader.at < end) {
    otherEdges.push(reader.text(OTHER_EDGE));
  }
  const connectionsEnded = reader.varint(CONNECTIONS_ENDED) === 1;
  if (reader.at !== end) return undefined;
  return { edgeIncarnation, announcements, hasClients, left, otherEdges, connectionsEnded };
}

function sizeOf({ clientId, connection, renewed }: Announcement): number {
  const clientBytes = Buffer.byteLength(clientId);
  return (
    (clientBytes > 0 ? sizeWithLength(clientBytes) : 0) +
    (connection > 0 ? 1 + varintSize(connection) : 0) +
    (renewed ? 2 : 0)
  );
}
