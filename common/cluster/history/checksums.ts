/**
 * Checksums of stored pushes: an entry of an inbox in which a bit was flipped is found before it is
 * delivered. Pure.
 */
import { crc32 } from 'node:zlib';

/** Names of the fields of an entry, in their order. The last ones were added later. */
const FIELDS = 'pxbcsa';
const [P, X, B, C, S, A] = [1, 3, 5, 7, 9, 11] as const;

/**
 * Covers what the router knows of a push. The script adds the numbers that only it knows.
 * @param part kind and key of a part of a growing message
 */
export function pushChecksum(
  clientId: string,
  contentType: string,
  payload: Uint8Array,
  part?: string,
): number {
  const sum = crc32(`${clientId}\0${contentType}${part === undefined ? '' : `\0${part}`}`);
  // For an empty buffer without memory of its own, crc32 returns 0.
  return payload.length === 0 ? sum : crc32(payload, sum);
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
  const part = fields[A]?.toString();
  const space = part?.indexOf(' ') ?? 0;
  const checksum = pushChecksum(clientId, contentType.toString(), payload, part?.slice(space + 1));
  const offset = Number(part?.slice(0, space) ?? 0);
  return checksum + numbers + offset === Number(sum);
}
