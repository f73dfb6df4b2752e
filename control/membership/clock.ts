/**
 * Unix time in milliseconds from the monotonic clock: leases must not end because the system clock
 * was set.
 */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
