/**
 * Bound on the pushes per second to one client through this router: a faulty backend must neither
 * flood one device nor rewrite one inbox all the time. Pure.
 *
 * A token bucket per client. A bucket that was not used for a second is full again, so it need not
 * be kept: two maps that rotate every second bound the memory by the clients of two seconds.
 */
import { type Rejection, rejection } from '../../common/process/errors.js';
import { TokenBucket } from '../../common/process/token-bucket.js';

const ROTATE_MS = 1_000;

export class ClientRates {
  #current = new Map<string, TokenBucket>();
  #previous = new Map<string, TokenBucket>();
  #rotateAtMs = 0;

  constructor(readonly perSecondMax: number) {}

  /** Counts a push, or returns the reason to reject it. */
  reject(clientId: string, nowMs: number): Rejection | undefined {
    if (nowMs >= this.#rotateAtMs) this.#rotate(nowMs);
    let bucket = this.#current.get(clientId);
    if (bucket === undefined) {
      bucket = this.#previous.get(clientId) ?? new TokenBucket(this.perSecondMax, nowMs);
      this.#current.set(clientId, bucket);
    }
    if (bucket.take(nowMs)) return undefined;
    const message = `over ${this.perSecondMax} pushes a second to this client; retry later`;
    return rejection('RATE_LIMITED', message);
  }

  #rotate(nowMs: number): void {
    this.#previous = this.#current;
    this.#current = new Map();
    this.#rotateAtMs = nowMs + ROTATE_MS;
  }
}
