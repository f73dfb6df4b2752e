/**
 * Payload with the time of its Push call: a JSON string that starts with a mark and the time in
 * decimal, padded with dots. Devices find it in any protocol.
 */
import { nowUs } from '../clock.js';

export const PAYLOAD_BYTES = 128;
const MARK = '"@t=';
const TIME_DIGITS = 16;

export function timedPayload(): Buffer {
  const payload = Buffer.alloc(PAYLOAD_BYTES, '.');
  payload.write(`${MARK}${String(nowUs()).padStart(TIME_DIGITS, '0')}`, 'latin1');
  payload.write('"', PAYLOAD_BYTES - 1);
  return payload;
}
