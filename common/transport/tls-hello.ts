/** Answers a device that speaks TLS to a port that does not. */
import { type Rejection, rejection } from '../process/errors.js';

/**
 * Type of a record with a handshake message (RFC 8446 §5.1), with which no other protocol begins.
 * The rest of the header may arrive later, and must not change the answer.
 */
const HANDSHAKE = 22;
/** A fatal alert, handshake_failure (RFC 8446 §6.2), which TLS libraries report by its name. */
const ALERT = Buffer.from([21, 3, 1, 0, 2, 2, 40]);

/** @returns undefined if these are not the first bytes of TLS */
export function rejectTls(
  bytes: Buffer,
): { readonly rejected: Rejection; readonly bytes: Buffer } | undefined {
  if (bytes[0] !== HANDSHAKE) return undefined;
  return { rejected: rejection('TLS_NOT_ENABLED', 'this port has no TLS'), bytes: ALERT };
}
