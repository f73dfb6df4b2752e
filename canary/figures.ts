/** Results of all windows: as metrics, and of the last 15 minutes as a report to control. */
import type { Counter, Histogram } from 'prom-client';
import type { Metrics } from '../common/process/metrics.js';
import type { CheckName } from '../drill/history/checks.js';
import type { WindowResult } from './probe.js';

/**
 * Names of the checks, as operators read them. Checks of events and of the ledger have no history
 * here.
 */
const CHECK_LABELS = {
  lost: 'lost',
  unexplainedDuplicates: 'doubled',
  late: 'late',
  falseVerdicts: 'false_verdict',
  outOfOrder: 'misordered',
  phantoms: 'invented',
  misdelivered: 'misdelivered',
  corrupted: 'corrupted',
} as const satisfies Partial<Record<CheckName, string>>;

export type CheckLabel = (typeof CHECK_LABELS)[keyof typeof CHECK_LABELS];

export function labelOf(check: CheckName): CheckLabel {
  return CHECK_LABELS[check as keyof typeof CHECK_LABELS];
}

const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** The report covers this many minutes, counted minute by minute. */
const MINUTES = 15;
const MINUTE_MS = 60_000;
/** Number of newest latencies from which the percentiles of the report are computed. */
const LATENCIES_MAX = 2_000;

interface Minute {
  readonly minute: number;
  pushes: number;
  readonly findings: Map<CheckLabel, number>;
}

export interface RecentFigures {
  readonly pushes: number;
  readonly findings: Readonly<Record<string, number>>;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

export class Figures {
  readonly #pushes: Counter<'verdict'>;
  readonly #findings: Counter<'check'>;
  readonly #windows: Counter<'outcome'>;
  readonly #resets: Counter;
  readonly #seconds: Histogram;
  readonly #minutes: Minute[] = [];
  readonly #latenciesMs: number[] = [];

  constructor(metrics: Metrics) {
    this.#pushes = metrics.counter(
      'longline_canary_pushes_total',
      'Attempts to push to canary clients, by verdict; REJECTED: an error that guarantees that nothing was stored, UNANSWERED: no answer',
      ['verdict'],
    );
    this.#findings = metrics.counter(
      'longline_canary_findings_total',
      'False promises to canary clients, by check: lost, doubled, late, false_verdict, misordered, invented, misdelivered, corrupted',
      ['check'],
    );
    this.#windows = metrics.counter(
      'longline_canary_windows_total',
      'Windows of 20 seconds of one canary client; judged, or abandoned because its device or the routers were unreachable for two minutes',
      ['outcome'],
    );
    this.#resets = metrics.counter(
      'longline_canary_resets_total',
      'Resets that canary clients received: the cluster may have lost pushes, and says so',
    );
    this.#seconds = metrics.histogram(
      'longline_canary_delivery_seconds',
      'Seconds from sending a push to its receipt by a canary client that was connected',
      BUCKETS,
    );
    // Prometheus sees no increase in a counter that first appears with 1.
    for (const check of Object.values(CHECK_LABELS)) this.#findings.inc({ check }, 0);
    for (const outcome of ['judged', 'abandoned']) this.#windows.inc({ outcome }, 0);
  }

  add({ isAbandoned, pushes, latenciesMs, findings, resets }: WindowResult, nowMs: number): void {
    this.#windows.inc({ outcome: isAbandoned ? 'abandoned' : 'judged' });
    this.#resets.inc(resets);
    const minute = this.#minuteOf(nowMs);
    minute.pushes += pushes.length;
    for (const { attempts } of pushes) {
      for (const { outcome = 'UNANSWERED' } of attempts) this.#pushes.inc({ verdict: outcome });
    }
    for (const latencyMs of latenciesMs) this.#seconds.observe(latencyMs / 1_000);
    this.#latenciesMs.push(...latenciesMs);
    this.#latenciesMs.splice(0, this.#latenciesMs.length - LATENCIES_MAX);
    for (const { check } of findings) {
      const label = labelOf(check);
      this.#findings.inc({ check: label });
      minute.findings.set(label, (minute.findings.get(label) ?? 0) + 1);
    }
  }

  /** Figures of the last 15 minutes. */
  recent(nowMs: number): RecentFigures {
    this.#minuteOf(nowMs);
    const findings: Record<string, number> = {};
    for (const minute of this.#minutes) {
      for (const [label, count] of minute.findings) {
        findings[label] = (findings[label] ?? 0) + count;
      }
    }
    const sorted = this.#latenciesMs.toSorted((a, b) => a - b);
    const quantile = (q: number) => sorted[Math.floor(sorted.length * q)] ?? null;
    return {
      pushes: this.#minutes.reduce((sum, { pushes }) => sum + pushes, 0),
      findings,
      p50Ms: quantile(0.5),
      p99Ms: quantile(0.99),
    };
  }

  #minuteOf(nowMs: number): Minute {
    const minute = Math.floor(nowMs / MINUTE_MS);
    while (this.#minutes.length > 0 && this.#minutes[0]!.minute <= minute - MINUTES) {
      this.#minutes.shift();
    }
    const newest = this.#minutes.at(-1);
    if (newest?.minute === minute) return newest;
    const added: Minute = { minute, pushes: 0, findings: new Map() };
    this.#minutes.push(added);
    return added;
  }
}
