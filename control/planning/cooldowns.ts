/**
 * Cooldowns keep the balancer from undoing its own work when load swings as fast as it acts, and
 * keep moves from being retried again and again with an edge that does not acquire shards. They are
 * in memory only: a new leader waits anyway before it balances.
 */

const SHARD_MS = 10 * 60_000;
/** After receiving an edge may not give, and after giving it may not receive. */
const ROLE_MS = 2 * 60_000;
const ACQUIRE_FAILED_MS = 60_000;

export class Cooldowns {
  readonly #shards = new Map<number, number>();
  /** By edge id. */
  readonly #gave = new Map<string, number>();
  readonly #received = new Map<string, number>();
  readonly #failed = new Map<string, number>();

  /** A shard moves to balance load. */
  onBalancingMove(nowMs: number, move: { shard: number; from: string; to: string }): void {
    this.#shards.set(move.shard, nowMs + SHARD_MS);
    this.#gave.set(move.from, nowMs + ROLE_MS);
    this.#received.set(move.to, nowMs + ROLE_MS);
  }

  /** A joining edge gets a shard. */
  onFillingMove(nowMs: number, edgeId: string): void {
    this.#received.set(edgeId, nowMs + ROLE_MS);
  }

  /** The edge has not acquired a shard in time, or has just recovered from a partition. */
  onAcquireFailed(nowMs: number, edgeId: string): void {
    this.#failed.set(edgeId, nowMs + ACQUIRE_FAILED_MS);
  }

  isCoolingDown(nowMs: number, shard: number): boolean {
    return isRunning(nowMs, this.#shards, shard);
  }

  mayGive(nowMs: number, edgeId: string): boolean {
    return !isRunning(nowMs, this.#received, edgeId);
  }

  mayReceive(nowMs: number, edgeId: string): boolean {
    return !isRunning(nowMs, this.#gave, edgeId);
  }

  hasRecentlyFailed(nowMs: number, edgeId: string): boolean {
    return isRunning(nowMs, this.#failed, edgeId);
  }
}

/** Deletes entries that have ended, so that edges with ever new ids do not accumulate. */
function isRunning<Key>(nowMs: number, ends: Map<Key, number>, key: Key): boolean {
  const endMs = ends.get(key);
  if (endMs === undefined) return false;
  if (nowMs < endMs) return true;
  ends.delete(key);
  return false;
}
