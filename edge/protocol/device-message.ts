/**
 * JSON messages from a device: one per text message of the WebSocket subprotocol `longline.json`.
 * `json-envelope.ts` has the messages to a device.
 */

import { isMessageId } from '../../common/cluster/inbox.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { MAX_BYTES_EXPECTED, parseMaxBytes } from '../../common/wire/connect-query.js';

/** Maximum size of a message that carries no token. */
const MESSAGE_BYTES_MAX = 4 * 1024;
/** Larger, because an external issuer decides how many claims a token has. */
const TOKEN_MESSAGE_BYTES_MAX = 12 * 1024;

/** Maximum size of any message. */
export const DEVICE_MESSAGE_BYTES_MAX = TOKEN_MESSAGE_BYTES_MAX;

/**
 * `ack` confirms all pushes up to its id; `hello` states the largest message that is received;
 * `join` and `leave` change the groups of the client.
 */
export type DeviceMessage =
  | { readonly type: 'ack'; readonly id: string }
  | { readonly type: 'hello'; readonly maxBytes: number }
  | { readonly type: 'ping' }
  | { readonly type: 'join' | 'leave'; readonly group: string }
  | { readonly type: 'token'; readonly token: string };

/**
 * Parses a message. Unknown members, and values that are neither strings nor a number of bytes, are
 * rejected, so that no client comes to depend on them being ignored.
 */
export function parseDeviceMessage(bytes: Buffer): DeviceMessage | Rejection {
  if (bytes.length > TOKEN_MESSAGE_BYTES_MAX) {
    return tooLarge(bytes.length, TOKEN_MESSAGE_BYTES_MAX);
  }
  const members = parseMembers(bytes.toString());
  if (members === undefined)
    return malformed('expected a JSON object whose members are strings or a number of bytes');
  const type = members.get('type');
  if (type !== 'token' && bytes.length > MESSAGE_BYTES_MAX) {
    return tooLarge(bytes.length, MESSAGE_BYTES_MAX);
  }
  const id = members.get('id');
  const token = members.get('token');
  if (type === 'ping' && members.size === 1) return { type };
  if (type === 'ack' && members.size === 2 && id !== undefined) {
    return isMessageId(id) ? { type, id } : malformed('the id of an ack is not the id of a push');
  }
  const maxBytes = members.get('maxBytes');
  if (type === 'hello' && members.size === 2 && maxBytes !== undefined) {
    const bytes = parseMaxBytes(maxBytes);
    return bytes === undefined ? malformed(MAX_BYTES_EXPECTED) : { type, maxBytes: bytes };
  }
  if (type === 'token' && members.size === 2 && token !== undefined) return { type, token };
  const group = members.get('group');
  const isOfGroup = (type === 'join' || type === 'leave') && members.size === 2;
  if (isOfGroup && group !== undefined) return { type, group };
  return malformed(
    'expected a JSON object of the type ack, ping, token, hello, join or leave, with its members',
  );
}

/** Returns a Map, so that a member name such as `__proto__` has no effect. */
function parseMembers(text: string): Map<string, string> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const members = new Map<string, string>();
  for (const [name, member] of Object.entries(value)) {
    const isNumber = name === 'maxBytes' && typeof member === 'number';
    if (!isNumber && typeof member !== 'string') return undefined;
    members.set(name, String(member));
  }
  return members;
}

function tooLarge(bytes: number, bytesMax: number): Rejection {
  const message = `the message is ${bytes} bytes; the maximum is ${bytesMax}`;
  return rejection('PAYLOAD_TOO_LARGE', message);
}

function malformed(message: string): Rejection {
  return rejection('REQUEST_MALFORMED', message);
}
