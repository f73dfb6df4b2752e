/**
 * Every process reports how far the clock of Redis is from its own, so that `longline doctor` finds
 * the machine whose clock is wrong. The reports are one small stream in Redis, `ll:clocks`, with
 * the fields `p` name of the process · `o` clock of Redis minus its own, in ms · `e` error bound in
 * ms. Nothing in Longline depends on them.
 */
import type { ClockOffset } from '../../process/time/clock-offset.js';
import type { RedisLink } from '../../redis/redis-link.js';

const POLL_MS = 2_000;
const INTERVAL_MS = 20_000;
/** A difference that has changed by more is reported at once. */
const CHANGE_MS = 1_000;
/** A process whose newest report is older has ended, or does not reach Redis. */
const KEPT_MS = 60_000;
const REPORTS_MAX = 5_000;

/** Reports as long as the process runs. */
export function reportClock(link: RedisLink, name: string): void {
  let reportedAtMs = Number.NEGATIVE_INFINITY;
  let reportedMs = 0;
  const report = async () => {
    const offset = link.requirements.largestClockOffset;
    if (offset === undefined) return;
    const nowMs = performance.now();
    const isDue = nowMs >= reportedAtMs + INTERVAL_MS;
    if (!isDue && Math.abs(offset.offsetMs - reportedMs) <= CHANGE_MS) return;
    reportedAtMs = nowMs;
    reportedMs = offset.offsetMs;
    const key = link.names.clocks;
    const fields = ['p', name, 'o', offset.offsetMs.toFixed(1), 'e', offset.errorMs.toFixed(1)];
    // While Redis is unavailable or has no memory left, there is no report.
    await link.execute('xadd', [key, 'MAXLEN', '~', REPORTS_MAX, '*', ...fields]);
    await link.execute('pexpire', [key, KEPT_MS]);
  };
  setInterval(() => void report(), POLL_MS).unref();
}

/** The newest report of a process. */
export interface ClockReport extends ClockOffset {
  readonly process: string;
}

/**
 * The newest report of each process, sorted by name.
 * @param entries of the stream, newest first
 * @param nowMs by the clock of Redis; reports that are too old are left out
 */
export function readClockReports(
  entries: readonly (readonly [id: string, fields: readonly string[]])[],
  nowMs: number,
): ClockReport[] {
  const reports = new Map<string, ClockReport>();
  for (const [id, [, name, , offset, , error]] of entries) {
    if (name === undefined || Number.parseInt(id, 10) < nowMs - KEPT_MS || reports.has(name)) {
      continue;
    }
    const report = { process: name, offsetMs: Number(offset), errorMs: Number(error) };
    if (Number.isFinite(report.offsetMs + report.errorMs)) reports.set(name, report);
  }
  return [...reports.values()].sort((a, b) => (a.process < b.process ? -1 : 1));
}
