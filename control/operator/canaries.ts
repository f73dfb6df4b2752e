/** The newest report of each canary, kept in memory by the leader. */
import { z } from 'zod';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { count } from './cluster-responses.js';

/** More than one canary is for tests of several networks; a cluster needs one. */
const CANARIES_MAX = 10;
const FORGET_MS = 15 * 60_000;
const CHECKS_MAX = 16;

export const canaryReport = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9._-]{1,128}$/, 'expected 1-128 of A-Z a-z 0-9 . _ -'),
  devices: count.describe('Synthetic devices.'),
  connected: count.describe('Those that are connected.'),
  combinations: count.describe('Combinations of an edge, a Redis master and a protocol.'),
  covered: count.describe('Combinations for which a device is connected.'),
  pushes: count.describe('Pushes in the last 15 minutes whose end is known.'),
  findings: z
    .record(z.string().regex(/^[a-z_]{1,32}$/), count)
    .refine((findings) => Object.keys(findings).length <= CHECKS_MAX, 'too many checks')
    .describe('False promises found in the last 15 minutes, by check.'),
  p50Ms: z
    .number()
    .min(0)
    .nullable()
    .describe('Median time from a push to its receipt by a connected device. Null: none.'),
  p99Ms: z.number().min(0).nullable().describe('99th percentile of the same.'),
  lastFinding: z.string().max(300).describe('The newest finding. Empty: none.'),
});

export const reportedResponse = z.object({});

export const canariesResponse = z.object({
  canaries: z.array(
    z.object({
      ...canaryReport.shape,
      lastReportAgeMs: count.describe('Milliseconds since the report. It reports every 5 s.'),
    }),
  ),
});

export type CanaryReport = z.infer<typeof canaryReport>;
export type CanariesResponse = z.infer<typeof canariesResponse>;

export class CanariesApi {
  readonly #reports = new Map<string, { readonly report: CanaryReport; readonly atMs: number }>();

  report(report: CanaryReport, nowMs = performance.now()): object | Rejection {
    this.#forget(nowMs);
    if (!this.#reports.has(report.id) && this.#reports.size >= CANARIES_MAX) {
      return rejection('OVERLOADED', `${CANARIES_MAX} canaries report already; stop some`);
    }
    this.#reports.set(report.id, { report, atMs: nowMs });
    return {};
  }

  list(nowMs = performance.now()): CanariesResponse {
    this.#forget(nowMs);
    const canaries = [...this.#reports.values()].map(({ report, atMs }) => ({
      ...report,
      lastReportAgeMs: Math.round(nowMs - atMs),
    }));
    return { canaries: canaries.sort((a, b) => (a.id < b.id ? -1 : 1)) };
  }

  #forget(nowMs: number): void {
    for (const [id, { atMs }] of this.#reports) {
      if (nowMs - atMs > FORGET_MS) this.#reports.delete(id);
    }
  }
}
