import { expect, test } from '@jest/globals';
import { readClockReports } from '../../../../common/cluster/clocks/clock-reports.js';

const NOW_MS = 1_700_000_000_000;
const entry = (agoMs: number, process: string, offset: string, error = '1.0') =>
  [`${NOW_MS - agoMs}-0`, ['p', process, 'o', offset, 'e', error]] as const;

test('the newest report of each process counts', () => {
  const entries = [
    entry(-3_600_000, 'router-1', '5.5'),
    entry(1_000, 'edge-1', '-90000.0'),
    entry(21_000, 'edge-1', '0.0'),
    entry(21_000, 'control-1', '2.0'),
  ];
  expect(readClockReports(entries, NOW_MS)).toEqual([
    { process: 'control-1', offsetMs: 2, errorMs: 1 },
    { process: 'edge-1', offsetMs: -90_000, errorMs: 1 },
    { process: 'router-1', offsetMs: 5.5, errorMs: 1 },
  ]);
});

test('a process that has ended, and an entry of another kind, are left out', () => {
  const entries = [
    entry(60_001, 'edge-1', '0.0'),
    entry(1, 'edge-2', 'much'),
    [`${NOW_MS}-0`, []] as const,
  ];
  expect(readClockReports(entries, NOW_MS)).toEqual([]);
});
