/** Close codes (RFC 6455 §7.4); docs/devices.md says what a device should do on each. */

import { CLOSE_REASON_BYTES_MAX, closeFrame } from '../../../common/wire/websocket/writer.js';
import type { EndReason } from '../protocol.js';

const GOING_AWAY = 1001;
/** Private codes (§7.4.2). */
const SESSION_REPLACED = 4001;
const MOVED = 4002;
const EXPIRED = 4003;

/**
 * Close frames by reason. `goaway` and `unexpected_bytes` have their own; the others need none,
 * because the device is gone, does not read, or has not been accepted.
 */
const CLOSE_FRAMES: Partial<Record<EndReason, Buffer>> = {
  disconnected: closeFrame(1000),
  session_replaced: closeFrame(SESSION_REPLACED),
  expired: closeFrame(EXPIRED, 'token expired'),
  revoked: closeFrame(EXPIRED, 'token revoked'),
  silent: closeFrame(1008, 'no pong for three heartbeats'),
  flooding: closeFrame(1008, 'inbound rate limit exceeded'),
};

export function closeFrameOf(reason: EndReason): Buffer | undefined {
  return CLOSE_FRAMES[reason];
}

/** @param url where to connect next; undefined: ask the router */
export function goawayFrame(url: string | undefined): Buffer {
  if (url === undefined) return closeFrame(GOING_AWAY);
  return closeFrame(MOVED, Buffer.byteLength(url) <= CLOSE_REASON_BYTES_MAX ? url : '');
}
