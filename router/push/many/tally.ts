/** Counts what became of the pushes of one call to many clients. */
import type { Rejection } from '../../../common/process/errors.js';
import { CLIENT_ID_BYTES_MAX } from '../../../common/wire/client-id.js';
import {
  type ClientFailure,
  Verdict,
  type VerdictCount,
} from '../../../proto/gen/longline/v1/push.js';

const FAILURES_REPORTED_MAX = 100;

export class Tally {
  readonly #counts = new Map<Verdict, number>();
  readonly #failures: ClientFailure[] = [];
  /** Clients whose verdict is UNKNOWN, if they are named. */
  readonly unknownClientIds: string[] = [];
  #failed = 0;

  constructor(readonly namesUnknown = false) {}

  onVerdictOf(clientId: string, verdict: Verdict): void {
    this.onVerdict(verdict);
    if (this.namesUnknown && verdict === Verdict.VERDICT_UNKNOWN) {
      this.unknownClientIds.push(clientId);
    }
  }

  onVerdict(verdict: Verdict, count = 1): void {
    this.#counts.set(verdict, (this.#counts.get(verdict) ?? 0) + count);
  }

  onFailure(
    clientId: string,
    failure: Pick<Rejection, 'message'> & { readonly code: string },
  ): void {
    this.#failed++;
    if (this.#failures.length >= FAILURES_REPORTED_MAX) return;
    // An invalid clientId may have any length; the response must not be too large for the caller.
    this.#failures.push({ clientId: clientId.slice(0, CLIENT_ID_BYTES_MAX), failure });
  }

  get counts(): VerdictCount[] {
    return Array.from(this.#counts, ([verdict, count]) => ({ verdict, count }));
  }

  /** At most some of the failed pushes. */
  get failures(): ClientFailure[] {
    return this.#failures;
  }

  /** Number of all failed pushes. */
  get failed(): number {
    return this.#failed;
  }

  /** Adds what became of other pushes of the call. */
  add(other: Tally): void {
    for (const { verdict, count } of other.counts) this.onVerdict(verdict, count);
    for (const { clientId, failure } of other.failures) this.onFailure(clientId, failure!);
    this.#failed += other.failed - other.failures.length;
    this.unknownClientIds.push(...other.unknownClientIds);
  }
}
