/**
 * The wall clock of this machine. It may differ from the clocks of other machines, and it may be
 * set while the process runs. So it decides only what is a Unix time by its nature, such as the
 * expiry of a token. Durations and deadlines within a process are measured by the monotonic clock,
 * `performance.now()`; between processes they travel as the time that is left. test/clocks.test.ts
 * lists the callers.
 */
export function unixMs(): number {
  return Date.now();
}

/**
 * Converts a time of the monotonic clock, for people to read: by the wall clock as it is set now.
 */
export function toUnixMs(monotonicMs: number): number {
  return Math.round(unixMs() - (performance.now() - monotonicMs));
}
