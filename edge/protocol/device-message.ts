/**
 * What a device tells as JSON, in one text message each of the WebSocket subprotocol `longline.json`.
 * What it is told is in `json-envelope.ts`.
 */

import { isMessageId } from '../../common/cluster/inbox.js';
import { type Rejection, rejection } from '../../common/process/errors.js';

/** What only one kind of message may be larger than. */
const MESSAGE_BYTES_MAX = 4 * 1024;
/** A token is signed by somebody else, who may have much to say. */
const TOKEN_MESSAGE_BYTES_MAX = 12 * 1024;

/** No message of a device is larger. */
export const DEVICE_MESSAGE_BYTES_MAX = TOKEN_MESSAGE_BYTES_MAX;

/** What a device may say. `ack` confirms everything up to its id. */
export type DeviceMessage =
  | { readonly type: 'ack'; readonly id: string }
  | { readonly type: 'ping' }
  | { readonly type: 'token'; readonly token: string };

/**
 * Reads what a device says. Only the members that its type has may be there, and only as strings: what
 * is none of ours is rejected before anybody can build on it.
 */
export function parseDeviceMessage(bytes: Buffer): DeviceMessage | Rejection {
  if (bytes.length > TOKEN_MESSAGE_BYTES_MAX) return tooLarge(TOKEN_MESSAGE_BYTES_MAX);
  const members = parseMembers(bytes.toString());
  if (members === undefined) return malformed('expected a JSON object whose members are strings');
  const type = members.get('type');
  if (type !== 'token' && bytes.length > MESSAGE_BYTES_MAX) return tooLarge(MESSAGE_BYTES_MAX);
  const id = members.get('id');
  const token = members.get('token');
  if (type === 'ping' && members.size === 1) return { type };
  if (type === 'ack' && members.size === 2 && id !== undefined) {
    return isMessageId(id) ? { type, id } : malformed('the id of an ack is not one of ours');
  }
  if (type === 'token' && members.size === 2 && token !== undefined) return { type, token };
  return malformed('expected {"type":"ack","id":…}, {"type":"ping"} or {"type":"token","token":…}');
}

/** A Map, so that no name of a member means anything to anybody (`__proto__`). */
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
    if (typeof member !== 'string') return undefined;
    members.set(name, member);
  }
  return members;
}

function tooLarge(bytesMax: number): Rejection {
  return rejection('PAYLOAD_TOO_LARGE', `a message of a device has at most ${bytesMax} bytes`);
}

function malformed(why: string): Rejection {
  return rejection('REQUEST_MALFORMED', why);
}
