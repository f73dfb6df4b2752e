/**
 * Checksums of stored pushes: an entry of an inbox in which a bit was flipped is found before it is
 * delivered. Pure.
 */
import { crc32 } from 'node:zlib';

/** Names of the fields of an entry, in their order. The last one was added later. */
const FIELDS = 'pxbcs';
const [P, X, B, C, S] = [1, 3, 5, 7, 9] as const;

/** Covers what the router knows of a push. The script adds the numbers that only it knows. */
export function pushChecksum(clientId: string, contentType: string, payload: Uint8Array): number {
  return crc32(payload, crc32(`${clientId}\0${contentType}`));
}

/**
 * Whether an entry is as it was stored for this client. One without a checksum, which an earlier
 * version has stored, only needs all its fields.
 * @param fields names and values in turn
 */
export function isIntactEntry(clientId: string, fields: readonly Buffer[]): boolean {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (name.length !== 1 || name[0] !== FIELDS.charCodeAt(i / 2)) return false;
  }
  const [payload, expiry, bytes, contentType, sum] = [P, X, B, C, S].map((at) => fields[at]);
  if (payload === undefined || expiry === undefined || bytes === undefined) return false;
  const numbers = Number(expiry) + Number(bytes);
  if (contentType === undefined || sum === undefined) return Number.isFinite(numbers);
  const checksum = pushChecksum(clientId, contentType.toString(), payload);
  return checksum + numbers === Number(sum);
}
