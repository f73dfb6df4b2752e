/**
 * `longline doctor`: the clocks of Longline's processes, which they report, and of this machine,
 * compared with that of Redis. Pure.
 */
import type { ClockReport } from '../../common/cluster/clocks/clock-reports.js';
import { describeOffset, isWrong } from '../../common/process/time/clock-offset.js';

/** Maximum number of wrong clocks that are named. */
const NAMED_MAX = 5;

export function judgeClocks(clocks: readonly ClockReport[]) {
  const what = 'clocks';
  const wrong = clocks.filter(isWrong);
  if (wrong.length === 0) {
    const seconds = Math.max(...clocks.map(({ offsetMs }) => Math.abs(offsetMs))) / 1_000;
    const value = `${clocks.length} within ${seconds.toFixed(2)} s of that of Redis`;
    return { what, grade: 'ok' as const, value, advice: '' };
  }
  const named = wrong
    .slice(0, NAMED_MAX)
    .map((report) => `Redis is ${describeOffset(report)} ${report.process}`);
  if (wrong.length > NAMED_MAX) named.push(`${wrong.length - NAMED_MAX} more`);
  const whose =
    wrong.length === clocks.length && clocks.length > 2
      ? 'all differ from Redis, so its clock is probably wrong; synchronise it (NTP)'
      : 'synchronise these machines (NTP)';
  const advice =
    `${whose}: tokens are rejected or accepted too long by a wrong clock, and pushes expire by that ` +
    'of Redis';
  return { what, grade: 'warn' as const, value: named.join(', '), advice };
}
