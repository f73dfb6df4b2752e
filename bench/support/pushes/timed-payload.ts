/** Payload that starts with the time of its Push call, in decimal, and is padded with dots. */
import { nowUs } from '../clock.js';

/** Size of a short chat message. */
export const PAYLOAD_BYTES = 64;
export const TIME_DIGITS = 16;

export function timedPayload(): Buffer {
  const payload = Buffer.alloc(PAYLOAD_BYTES, '.');
  payload.write(String(nowUs()).padStart(TIME_DIGITS, '0'), 'latin1');
  return payload;
}
