import { expect, test } from '@jest/globals';
import { Figures } from '../../canary/figures.js';
import type { WindowResult } from '../../canary/probe.js';
import { Metrics } from '../../common/process/metrics.js';
import { attempt, push } from '../drill/history/history-builder.js';

const MINUTE_MS = 60_000;

const window = (parts: Partial<WindowResult> = {}): WindowResult => ({
  isAbandoned: false,
  pushes: [push(1, [attempt('UNKNOWN'), attempt('STORED', '5-0')])],
  latenciesMs: [5],
  findings: [],
  resets: 0,
  ...parts,
});
const lost = { check: 'lost', clientId: '_canary-1', pushNumber: 1, message: '' } as const;

test('the report has the last 15 minutes', () => {
  const figures = new Figures(new Metrics());
  figures.add(window({ findings: [lost, lost] }), 0);
  figures.add(window({ findings: [{ ...lost, check: 'unexplainedDuplicates' }] }), 5 * MINUTE_MS);
  expect(figures.recent(14 * MINUTE_MS)).toEqual({
    pushes: 2,
    findings: { lost: 2, doubled: 1 },
    p50Ms: 5,
    p99Ms: 5,
  });
  expect(figures.recent(15 * MINUTE_MS).findings).toEqual({ doubled: 1 });
  expect(figures.recent(30 * MINUTE_MS)).toMatchObject({ pushes: 0, findings: {} });
});

test('percentiles are of the newest latencies, and none before the first', () => {
  const figures = new Figures(new Metrics());
  expect(figures.recent(0)).toMatchObject({ p50Ms: null, p99Ms: null });
  figures.add(window({ latenciesMs: Array.from({ length: 3_000 }, () => 900) }), 0);
  figures.add(window({ latenciesMs: Array.from({ length: 2_000 }, (_, i) => i) }), 0);
  expect(figures.recent(0)).toMatchObject({ p50Ms: 1_000, p99Ms: 1_980 });
});

test('metrics count attempts by verdict, findings by check, and begin with 0', async () => {
  const metrics = new Metrics();
  const figures = new Figures(metrics);
  const text = () => metrics.registry.metrics();
  expect(await text()).toContain('longline_canary_findings_total{check="false_verdict"} 0');
  figures.add(window({ findings: [lost], isAbandoned: true, resets: 2 }), 0);
  for (const line of [
    'longline_canary_pushes_total{verdict="UNKNOWN"} 1',
    'longline_canary_pushes_total{verdict="STORED"} 1',
    'longline_canary_findings_total{check="lost"} 1',
    'longline_canary_windows_total{outcome="abandoned"} 1',
    'longline_canary_resets_total 2',
    'longline_canary_delivery_seconds_count 1',
  ]) {
    expect(await text()).toContain(line);
  }
});
