/** The difference between the clock of a Redis server and this machine's. Pure. */

/** A larger difference is reported. Smaller ones harm nothing, and are hard to tell from delays. */
export const CLOCK_OFFSET_MS_MAX = 5_000;

export interface ClockOffset {
  /** Clock of the server minus this machine's, in ms. */
  readonly offsetMs: number;
  /** The true difference is at most this much higher or lower. */
  readonly errorMs: number;
}

/**
 * @param serverMs Unix time that the server has replied
 * @param roundTripMs from the request to the reply
 * @param receivedAtMs Unix time at which the reply arrived, by this machine's clock
 */
export function measureOffset(
  serverMs: number,
  roundTripMs: number,
  receivedAtMs: number,
): ClockOffset {
  const errorMs = roundTripMs / 2;
  return { offsetMs: serverMs - (receivedAtMs - errorMs), errorMs };
}

/** A reading of the clock of a server, by the monotonic clock of this process. */
export interface ClockReading {
  /** Unix time in ms that the server has replied. */
  readonly serverMs: number;
  /** When it was that time, in ms of the monotonic clock; at most `errorMs` earlier or later. */
  readonly atMs: number;
  readonly errorMs: number;
}

/** Clocks of machines differ by less than this much of the time that passes. */
const DRIFT_MAX = 2e-4;

/** When a server's clock shows or has shown a time, in ms of the monotonic clock. */
export function monotonicOf({ serverMs, atMs, errorMs }: ClockReading, unixMs: number) {
  const sinceMs = unixMs - serverMs;
  return { ms: atMs + sinceMs, errorMs: errorMs + Math.abs(sinceMs) * DRIFT_MAX };
}

/** A server's clock at a time of the monotonic clock, in Unix ms. */
export function serverTimeAt({ serverMs, atMs, errorMs }: ClockReading, ms: number) {
  const sinceMs = ms - atMs;
  return { ms: serverMs + sinceMs, errorMs: errorMs + Math.abs(sinceMs) * DRIFT_MAX };
}

/** Whether the clocks certainly differ by more than `CLOCK_OFFSET_MS_MAX`. */
export function isWrong({ offsetMs, errorMs }: ClockOffset): boolean {
  return Math.abs(offsetMs) - errorMs > CLOCK_OFFSET_MS_MAX;
}

/**
 * Such as `90.0 s ahead of` or `3600.0 s behind`, for the clock that was compared with this one.
 */
export function describeOffset({ offsetMs }: ClockOffset): string {
  const seconds = (Math.abs(offsetMs) / 1_000).toFixed(0);
  return `${seconds} s ${offsetMs > 0 ? 'ahead of' : 'behind'}`;
}
