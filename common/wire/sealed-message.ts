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
const HEADER_BYTES = 10;

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
  const sealed = Buffer.allocUnsafe(HEADER_BYTES + message.length);
  sealed[0] = TAG;
  sealed[1] = SIZE;
  sealed.writeUInt32LE(crc32(message), CRC_AT);
  sealed.writeUInt32LE(message.length, LENGTH_AT);
  sealed.set(message, HEADER_BYTES);
  return sealed;
}

export function unseal(bytes: Buffer): Unsealed {
  const isTagged = bytes[0] === TAG && bytes[1] === SIZE;
  if (bytes.length < HEADER_BYTES) return isTagged ? CORRUPT : UNSEALED;
  const end = HEADER_BYTES + bytes.readUInt32LE(LENGTH_AT);
  // A message without a seal has any number there. With the tag alone flipped, the rest fits.
  const message = end <= bytes.length ? bytes.subarray(HEADER_BYTES, end) : undefined;
  const isIntact = message !== undefined && crc32(message) === bytes.readUInt32LE(CRC_AT);
  if (isTagged !== isIntact) return CORRUPT;
  if (!isIntact) return UNSEALED;
  return { type: 'intact', content: bytes.subarray(HEADER_BYTES), appended: bytes.subarray(end) };
}
