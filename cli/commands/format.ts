/** Formats numbers for people. */
import { unixMs } from '../../common/process/time/clock.js';

/** Shown for a value that control does not know now. */
export const UNKNOWN = '?';

/** Such as `1m 20s`. */
export function spell(seconds: number | null): string {
  if (seconds === null) return UNKNOWN;
  const whole = Math.ceil(seconds);
  const [h, m, s] = [Math.floor(whole / 3_600), Math.floor(whole / 60) % 60, whole % 60];
  if (h > 0) return `${h}h ${m}m`;
  return m > 0 ? `${m}m ${s}s` : `${s}s`;
}

/**
 * Start of a connection, as an ISO time by the clock of this machine, not by the edge's.
 * @param forMs undefined: an older version answers, and only the edge's own time is known
 */
export function connectedSince(atMs: number, forMs: number | undefined): string {
  return new Date(forMs === undefined ? atMs : unixMs() - forMs).toISOString();
}

/** Such as `ETA 1m 20s`. */
export function eta(seconds: number | null): string {
  return `ETA ${seconds === null ? 'unknown' : spell(seconds)}`;
}

/** Such as `1,200 clients`. */
export function plural(count: number | null, thing: string, things = `${thing}s`): string {
  return `${count === null ? UNKNOWN : grouped(count)} ${count === 1 ? thing : things}`;
}

/** `1200` as `1,200`. */
export function grouped(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** @param share 0 to 1 */
export function bar(share: number, cells = 30): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * cells);
  return `[${'#'.repeat(full)}${'-'.repeat(cells - full)}]`;
}
