/**
 * What a clientId may be: 1 to 256 bytes of UTF-8 without control characters. Braces, colons and
 * slashes are fine: a clientId is never parsed, and in a Redis key the shard's tag comes first.
 */
import { type Rejection, rejection } from '../process/errors.js';

export const CLIENT_ID_BYTES_MAX = 256;

/** C0, DEL, C1. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** Returns why `clientId` is rejected, or undefined when it is good. */
export function rejectClientId(clientId: string): Rejection | undefined {
  if (clientId.length === 0) return invalid('it is empty');
  // A string of more than 256 UTF-16 units has more than 256 bytes: never measure a huge one.
  if (clientId.length > CLIENT_ID_BYTES_MAX) return invalid('it is longer than 256 bytes');
  if (Buffer.byteLength(clientId) > CLIENT_ID_BYTES_MAX) {
    return invalid('it is longer than 256 bytes');
  }
  if (CONTROL.test(clientId)) return invalid('it contains a control character');
  if (!clientId.isWellFormed()) return invalid('it is not UTF-8');
  return undefined;
}

/**
 * Reads a clientId from a percent-encoded query value (RFC 3986 §2.1). `+` is itself, not a space:
 * the value is not form data.
 */
export function parseEncodedClientId(encoded: string): string | Rejection {
  let clientId: string;
  try {
    clientId = decodeURIComponent(encoded);
  } catch {
    return invalid('it is not percent-encoded UTF-8');
  }
  return rejectClientId(clientId) ?? clientId;
}

function invalid(why: string): Rejection {
  return rejection(
    'CLIENT_ID_INVALID',
    `a clientId is 1 to 256 bytes of UTF-8 without control characters; ${why}`,
  );
}
