/**
 * Messages with a checksum, so that a flipped bit is found before anything in them is used.
 *
 * A sealed message is an encoded protobuf message whose first field is number 15, eight bytes: the
 * CRC-32 and the length of what follows, both little-endian. A decoder of an earlier version skips
 * the field, and a message of an earlier version starts with another one, so both can be mixed
 * during a rolling update. More bytes may follow the sealed part: a script in Redis appends fields.
 */
import { crc32 } from 'node:zlib';

/** Field 15, length-delimited, eight bytes. */
const [TAG, SIZE] = [0x7a, 8] as const;
const CRC_AT = 2;
const LENGTH_AT = 6;
export const SEAL_BYTES = 10;

export type Unsealed =
  | {
      readonly type: 'intact';
      /** The message, with what follows the sealed part. */
      readonly content: Buffer;
      /** Bytes after the sealed part. */
      readonly appended: Buffer;
    }
  /** No seal: the sender is of an earlier version. */
  | { readonly type: 'unsealed' }
  | { readonly type: 'corrupt' };

const UNSEALED: Unsealed = { type: 'unsealed' };
const CORRUPT: Unsealed = { type: 'corrupt' };

export function seal(message: Uint8Array): Buffer {
  const sealed = Buffer.allocUnsafe(SEAL_BYTES + message.length);
  sealed.set(message, SEAL_BYTES);
  writeSeal(sealed);
  return sealed;
}

/** Seals a message that was written after the first `SEAL_BYTES` of a buffer, to its end. */
export function writeSeal(sealed: Buffer): void {
  sealed[0] = TAG;
  sealed[1] = SIZE;
  sealed.writeUInt32LE(crc32(sealed.subarray(SEAL_BYTES)), CRC_AT);
  sealed.writeUInt32LE(sealed.length - SEAL_BYTES, LENGTH_AT);
}

/** Where the sealed part ends, which may be corrupt; undefined for bytes without a seal. */
export function sealedEnd(bytes: Buffer): number | undefined {
  if (bytes.length < SEAL_BYTES || bytes[0] !== TAG || bytes[1] !== SIZE) return undefined;
  const end = SEAL_BYTES + bytes.readUInt32LE(LENGTH_AT);
  return end <= bytes.length ? end : undefined;
}

/** @param end as `sealedEnd` has returned it */
export function isSealIntact(bytes: Buffer, end: number): boolean {
  return crc32(bytes.subarray(SEAL_BYTES, end)) === bytes.readUInt32LE(CRC_AT);
}

export function unseal(bytes: Buffer): Unsealed {
  const isTagged = bytes[0] === TAG && bytes[1] === SIZE;
  if (bytes.length < SEAL_BYTES) return isTagged ? CORRUPT : UNSEALED;
  const end = SEAL_BYTES + bytes.readUInt32LE(LENGTH_AT);
  // A message without a seal has any number there. With the tag alone flipped, the rest fits.
  const message = end <= bytes.length ? bytes.subarray(SEAL_BYTES, end) : undefined;
  const isIntact = message !== undefined && crc32(message) === bytes.readUInt32LE(CRC_AT);
  if (isTagged !== isIntact) return CORRUPT;
  if (!isIntact) return UNSEALED;
  return { type: 'intact', content: bytes.subarray(SEAL_BYTES), appended: bytes.subarray(end) };
}
