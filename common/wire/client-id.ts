/**
 * ClientIds: 1 to 256 bytes of UTF-8 without control characters. Braces and colons are allowed: a
 * clientId follows the shard's tag in a Redis key.
 *
 * `alice/phone` is the device `phone` of the user `alice`: all devices of a user have one shard. A
 * clientId without a slash is a user's only device. Further slashes belong to the device.
 */
import { type Rejection, rejection } from '../process/errors.js';

export const CLIENT_ID_BYTES_MAX = 256;

/** C0, DEL and C1 controls. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** Returns a rejection, or undefined for a valid clientId. */
export function rejectClientId(clientId: string): Rejection | undefined {
  const problem = problemOf(clientId);
  return problem === undefined ? undefined : invalid(problem);
}

/** Returns a rejection, or undefined for the valid name of a user. */
export function rejectUser(user: string): Rejection | undefined {
  const problem = user.includes('/') ? 'contains a slash, as only clientIds do' : problemOf(user);
  if (problem === undefined) return undefined;
  return rejection('CLIENT_ID_INVALID', `the user ${problem}; it is a clientId without a slash`);
}

/** The user of a device: the part of its clientId before the first slash. */
export function userOf(clientId: string): string {
  const slash = clientId.indexOf('/');
  return slash < 0 ? clientId : clientId.slice(0, slash);
}

/** The device within its user, or undefined for a user's only device. */
export function deviceOf(clientId: string): string | undefined {
  const slash = clientId.indexOf('/');
  return slash < 0 ? undefined : clientId.slice(slash + 1);
}

export function clientIdOf(user: string, device: string): string {
  return `${user}/${device}`;
}

/** Why the name of a client or group is invalid; undefined for a valid one. */
export function nameProblem(name: string): string | undefined {
  if (name.length === 0) return 'is empty';
  // More than 256 UTF-16 units are more than 256 bytes; this avoids measuring a huge string.
  if (name.length > CLIENT_ID_BYTES_MAX || Buffer.byteLength(name) > CLIENT_ID_BYTES_MAX) {
    return 'is longer than 256 bytes';
  }
  if (CONTROL.test(name)) return 'contains a control character';
  return name.isWellFormed() ? undefined : 'is not valid UTF-8';
}

function problemOf(clientId: string): string | undefined {
  const problem = nameProblem(clientId);
  if (problem !== undefined) return problem;
  const slash = clientId.indexOf('/');
  if (slash === 0) return 'has no user before its first slash';
  if (slash === clientId.length - 1) return 'has no device after its first slash';
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
    `the clientId ${problem}; it must be 1 to 256 bytes of UTF-8 without control characters, such as alice or alice/phone`,
  );
}
