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

/** Whether the clocks certainly differ by more than `CLOCK_OFFSET_MS_MAX`. */
export function isWrong({ offsetMs, errorMs }: ClockOffset): boolean {
  return Math.abs(offsetMs) - errorMs > CLOCK_OFFSET_MS_MAX;
}

/** Such as `90.0 s ahead of` or `3600.0 s behind`, for the clock that was compared with this one. */
export function describeOffset({ offsetMs }: ClockOffset): string {
  const seconds = (Math.abs(offsetMs) / 1_000).toFixed(0);
  return `${seconds} s ${offsetMs > 0 ? 'ahead of' : 'behind'}`;
}
