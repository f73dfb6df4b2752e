/** Microseconds on a clock that all processes of this machine share (CLOCK_MONOTONIC). */
export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + Math.round(nanoseconds / 1e3);
}
