/** With which codes an edge closes WebSockets (RFC 6455 §7.4); the README says what a device does. */
import type { EndReason } from '../protocol.js';
import { CLOSE_REASON_BYTES_MAX, closeFrame } from './writer.js';

const GOING_AWAY = 1001;
/** §7.4.2: ours. */
const SESSION_REPLACED = 4001;
const MOVED = 4002;
const EXPIRED = 4003;

/**
 * By reason. Of the others, one has its own close frame (`goaway`, `unexpected_bytes`), and to the rest
 * nothing can be said: it is gone, does not read, or has not been answered.
 */
const CLOSING: Partial<Record<EndReason, Buffer>> = {
  disconnected: closeFrame(1000),
  session_replaced: closeFrame(SESSION_REPLACED),
  expired: closeFrame(EXPIRED, 'the token has ended'),
  silent: closeFrame(1008, 'no pong came'),
  flooding: closeFrame(1008, 'more than a device may send in a second'),
};

export function closing(reason: EndReason): Buffer | undefined {
  return CLOSING[reason];
}

/** @param url where to connect; undefined: nobody knows, the router is to be asked */
export function goawayClosing(url: string | undefined): Buffer {
  if (url === undefined) return closeFrame(GOING_AWAY);
  return closeFrame(MOVED, Buffer.byteLength(url) <= CLOSE_REASON_BYTES_MAX ? url : '');
}
