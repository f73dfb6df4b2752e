/** What a push of the bench carries: the time of its call in decimal, filled up. */

/** As a short message of a chat. */
export const PAYLOAD_BYTES = 64;
export const TIME_DIGITS = 16;

/** Microseconds on a clock that all processes of this machine share (CLOCK_MONOTONIC). */
export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + Math.round(nanoseconds / 1e3);
}

export function timedPayload(): Buffer {
  const payload = Buffer.alloc(PAYLOAD_BYTES, '.');
  payload.write(String(nowUs()).padStart(TIME_DIGITS, '0'), 'latin1');
  return payload;
}
