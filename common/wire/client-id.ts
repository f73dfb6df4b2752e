/**
 * Validation of clientIds: 1 to 256 bytes of UTF-8 without control characters. Braces, colons and
 * slashes are allowed: a clientId is never parsed, and follows the shard's tag in a Redis key.
 */
import { type Rejection, rejection } from '../process/errors.js';

export const CLIENT_ID_BYTES_MAX = 256;

/** C0, DEL and C1 controls. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** Returns a rejection, or undefined for a valid clientId. */
export function rejectClientId(clientId: string): Rejection | undefined {
  if (clientId.length === 0) return invalid('is empty');
  // More than 256 UTF-16 units are more than 256 bytes; this avoids measuring a huge string.
  if (clientId.length > CLIENT_ID_BYTES_MAX || Buffer.byteLength(clientId) > CLIENT_ID_BYTES_MAX) {
    return invalid('is longer than 256 bytes');
  }
  if (CONTROL.test(clientId)) return invalid('contains a control character');
  if (!clientId.isWellFormed()) return invalid('is not valid UTF-8');
  return undefined;
}

/**
 * Parses a clientId from a percent-encoded query value (RFC 3986 §2.1). `+` is a literal plus, not
 * a space: the value is not form data.
 */
export function parseEncodedClientId(encoded: string): string | Rejection {
  let clientId: string;
  try {
    clientId = decodeURIComponent(encoded);
  } catch {
    return invalid('is not percent-encoded UTF-8');
  }
  return rejectClientId(clientId) ?? clientId;
}

function invalid(problem: string): Rejection {
  return rejection(
    'CLIENT_ID_INVALID',
    `the clientId ${problem}; it must be 1 to 256 bytes of UTF-8 without control characters`,
  );
}
