/**
 * The ledger: what has become of every durable push, of each shard and in sum. The audits of the
 * shards balance by themselves (common/cluster/ledger/audit.ts); what they say is compared with
 * what routers have stored and with what edges have confirmed. Pure: times are arguments.
 *
 * Kept by the leader in memory. The columns are in Redis, so a new leader has them with its first
 * audits; the comparisons start over.
 *
 * Memory: some numbers for each shard, and for each process and shard in which it counts.
 */
import { COUNTED_MAX, type ShardAudit } from '../../common/cluster/ledger/audit.js';
import { CAUSES, type Cause } from '../../common/cluster/ledger/left.js';
import type { LatencyTotal } from '../../proto/gen/longline/v1/assignment.js';
import { type Audited, AuditTable } from './audit-table.js';
import { Comparison, isPlausible, type Totals } from './comparison.js';

/** A difference is shown for this time after it was last found. */
export const SHOWN_MS = 15 * 60 * 1_000;
/** An audit that is older than this counts as late. */
export const AUDIT_LATE_MS = 60_000;
/** Inboxes that are counted per second on average, some microseconds each. */
const COUNTED_PER_SECOND = 5_000;
/** A process has reported again by then. */
const HEARD_MS = 10_000;
const OLDER_MS = 60_000;
/** Maximum buckets in one report. */
const LATENCIES_MAX = 32;

/**
 * `missing` the audit of the shard does not balance: pushes are in no column, or in two · `lost`
 * Redis does not know pushes any more that routers have stored · `unstored` Redis has pushes that
 * no router has reported · `unconfirmed` edges have confirmed pushes, and Redis has lost the
 * confirmations: they are delivered again · `overconfirmed` Redis has confirmations that no edge
 * has reported
 */
export type DifferenceKind = 'missing' | 'lost' | 'unstored' | 'unconfirmed' | 'overconfirmed';

export interface Difference {
  readonly kind: DifferenceKind;
  readonly shard: number;
  readonly pushes: number;
  /** In ms of the monotonic clock. */
  readonly foundAtMs: number;
}

/** Sums of the reports when an audit is requested. */
export interface AuditStart {
  readonly sentAtMs: number;
  readonly stored: number;
  readonly confirmed: number;
}

export type Columns = Readonly<Record<Cause | 'accepted' | 'waiting' | 'lost', number>> & {
  /** Pushes from before the ledger, which are in no other column. */
  readonly before: number;
};

export class Ledger {
  readonly #audits: AuditTable;
  readonly #stored: Comparison;
  readonly #confirmed: Comparison;
  /** By kind and shard. */
  readonly #differences = new Map<string, Difference>();
  /** By process: the newest report. */
  readonly #latencies = new Map<
    string,
    { latencies: readonly LatencyTotal[]; heardAtMs: number }
  >();

  #countEveryMs = 0;
  /** When a process of a version without a ledger has reported, in ms of the monotonic clock. */
  #olderAtMs: number;

  constructor(
    readonly shardCount: number,
    nowMs: number,
  ) {
    // A new leader has not heard all processes yet.
    this.#olderAtMs = nowMs - OLDER_MS + HEARD_MS;
    this.#audits = new AuditTable(shardCount);
    this.#stored = new Comparison(shardCount);
    this.#confirmed = new Comparison(shardCount);
  }

  /** @param stored undefined: a router of an earlier version, which does not count */
  onRouter(incarnation: string, stored: Totals | undefined, nowMs: number): void {
    this.#report(this.#stored, incarnation, stored, nowMs);
  }

  #report(to: Comparison, incarnation: string, totals: Totals | undefined, nowMs: number): void {
    const isUsed = totals !== undefined && isPlausible(totals, this.shardCount);
    if (isUsed) return to.onReport(incarnation, totals, nowMs);
    to.lift(nowMs);
    if (totals === undefined) this.#olderAtMs = nowMs;
  }

  onEdge(
    incarnation: string,
    confirmed: Totals | undefined,
    latencies: readonly LatencyTotal[],
    nowMs: number,
  ): void {
    this.#report(this.#confirmed, incarnation, confirmed, nowMs);
    if (latencies.length <= LATENCIES_MAX) {
      this.#latencies.set(incarnation, { latencies, heardAtMs: nowMs });
    }
  }

  /** Whether processes of a version without a ledger may run. */
  isMixed(nowMs: number): boolean {
    return nowMs - this.#olderAtMs < OLDER_MS;
  }

  /** To be called before the audit of a shard is requested. */
  begin(shard: number, nowMs: number): AuditStart {
    return {
      sentAtMs: nowMs,
      stored: this.#stored.sumOf(shard),
      confirmed: this.#confirmed.sumOf(shard),
    };
  }

  /** Returns the number of pushes that are found to be lost, which is to be noted in Redis. */
  onAudit(shard: number, audit: ShardAudit, start: AuditStart, nowMs: number): number {
    const before = this.#audits.get(shard);
    const isCounted = audit.waiting !== undefined;
    const countedAtMs = isCounted ? nowMs : (before?.countedAtMs ?? Number.NEGATIVE_INFINITY);
    this.#audits.set(shard, { ...audit, atMs: nowMs, countedAtMs });
    const accepted = acceptedEver(audit);
    const isAnew = before !== undefined && before.sinceMs !== 0 && before.sinceMs !== audit.sinceMs;
    if (isAnew) {
      // Redis has lost the ledger of the shard; the pushes only if their number has fallen, too.
      this.#confirmed.restart(shard);
      if (accepted < acceptedEver(before)) return this.#onEmptied(shard, before, nowMs);
    }
    const missing = audit.missing - (isAnew ? 0 : (before?.missing ?? 0));
    if (missing !== 0) this.#add('missing', shard, missing, nowMs);
    const { sentAtMs } = start;
    const lost = this.#stored.onCounter(shard, accepted, start.stored, sentAtMs, nowMs);
    if (lost > 0) this.#add('lost', shard, lost, nowMs);
    const { confirmed } = audit;
    const again = this.#confirmed.onCounter(shard, confirmed, start.confirmed, sentAtMs, nowMs);
    if (again > 0) this.#add('unconfirmed', shard, again, nowMs);
    return lost;
  }

  /** Redis has lost all that waited in the shard. */
  #onEmptied(shard: number, before: Audited, nowMs: number): number {
    this.#stored.restart(shard);
    const lost = columnsOf(before).waiting;
    if (lost > 0) this.#add('lost', shard, lost, nowMs);
    return lost;
  }

  /** To be called once per second. */
  tick(nowMs: number): void {
    for (const { shard, pushes } of this.#stored.tick(nowMs)) {
      this.#add('unstored', shard, pushes, nowMs);
    }
    for (const { shard, pushes } of this.#confirmed.tick(nowMs)) {
      this.#add('overconfirmed', shard, pushes, nowMs);
    }
    let inboxes = 0;
    for (const count of this.#audits.column('inboxes')) inboxes += count;
    this.#countEveryMs = (1_000 * inboxes) / COUNTED_PER_SECOND;
    for (const [key, { foundAtMs }] of this.#differences) {
      if (nowMs - foundAtMs > SHOWN_MS) this.#differences.delete(key);
    }
    for (const [incarnation, { heardAtMs }] of this.#latencies) {
      if (nowMs - heardAtMs > SHOWN_MS) this.#latencies.delete(incarnation);
    }
  }

  #add(kind: DifferenceKind, shard: number, pushes: number, foundAtMs: number): void {
    const key = `${kind} ${shard}`;
    const before = this.#differences.get(key)?.pushes ?? 0;
    this.#differences.set(key, { kind, shard, pushes: before + pushes, foundAtMs });
  }

  /** Found in the last 15 minutes. */
  get differences(): readonly Difference[] {
    return [...this.#differences.values()];
  }

  /** Whether what waits in the shard is to be counted: of many inboxes, not at each audit. */
  isCountDue(shard: number, nowMs: number): boolean {
    // NaN before the first audit.
    return !(nowMs - this.#audits.valueOf(shard, 'countedAtMs') < this.#countEveryMs);
  }

  /** Whether the shard was never pushed to when it was audited last. */
  wasEmpty(shard: number): boolean {
    return this.#audits.valueOf(shard, 'sinceMs') === 0;
  }

  /** Undefined: it was not audited yet, or was never pushed to. */
  shard(shard: number): Columns | undefined {
    const audit = this.#audits.get(shard);
    return audit === undefined || audit.sinceMs === 0 ? undefined : columnsOf(audit);
  }

  /** The sum of all shards. */
  total(): Columns {
    const sum: Record<keyof Columns, number> = { ...NOTHING };
    for (let shard = 0; shard < this.shardCount; shard++) {
      const columns = this.shard(shard);
      if (columns === undefined) continue;
      for (const name of COLUMNS) sum[name] += columns[name];
    }
    return sum;
  }

  /** Shards whose last audit is older than a minute, or that have none. */
  lateCount(nowMs: number): number {
    let onTime = 0;
    for (const atMs of this.#audits.column('atMs')) if (nowMs - atMs <= AUDIT_LATE_MS) onTime++;
    return this.shardCount - onTime;
  }

  /** Shards that have too many inboxes to count what waits: there, nothing can be missing. */
  get uncountedCount(): number {
    let uncounted = 0;
    for (const inboxes of this.#audits.column('inboxes')) if (inboxes > COUNTED_MAX) uncounted++;
    return uncounted;
  }

  /** Time of the first audit of any shard, Unix ms by the clock of Redis. Undefined: none. */
  get sinceMs(): number | undefined {
    let first = Number.POSITIVE_INFINITY;
    for (const sinceMs of this.#audits.column('sinceMs')) {
      if (sinceMs !== 0) first = Math.min(first, sinceMs);
    }
    return first === Number.POSITIVE_INFINITY ? undefined : first;
  }

  get routerCount(): number {
    return this.#stored.processCount;
  }

  get edgeCount(): number {
    return this.#confirmed.processCount;
  }

  /** Confirmations by the upper bound of the age of their newest push, in seconds. */
  latencies(): ReadonlyMap<number, number> {
    const sum = new Map<number, number>();
    for (const { latencies } of this.#latencies.values()) {
      for (const { seconds, pushes } of latencies) {
        sum.set(seconds, (sum.get(seconds) ?? 0) + pushes);
      }
    }
    return sum;
  }
}

/** The number of the newest push, with those before the first audit. */
function acceptedEver({ accepted, base }: ShardAudit): number {
  return accepted + base;
}

export const COLUMNS = ['accepted', 'waiting', ...CAUSES, 'lost', 'before'] as const;

const NOTHING: Columns = Object.freeze(
  Object.fromEntries(COLUMNS.map((name) => [name, 0])),
) as unknown as Columns;

/** Redis does not count lost pushes as accepted. */
function columnsOf(audit: ShardAudit): Columns {
  const { accepted, lost, missing, base } = audit;
  const left = CAUSES.reduce((sum, cause) => sum + audit[cause], 0);
  const waiting = audit.waiting ?? accepted - left - missing;
  const { confirmed, expired, evicted, collapsed, skipped } = audit;
  const causes = { confirmed, expired, evicted, collapsed, skipped };
  return { accepted: accepted + lost, waiting, ...causes, lost: lost + missing, before: base };
}
