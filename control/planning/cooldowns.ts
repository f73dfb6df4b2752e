/**
 * Cooldowns: who has had enough for now. They keep the balancer from undoing its own work when load
 * swings as fast as it acts, and moves from being tried again and again with an edge that does not
 * take part. They are in memory only: a control that begins anew waits anyway before it balances.
 */

const SHARD_MS = 10 * 60_000;
/** An edge that has received gives nothing, and one that has given receives nothing. */
const ROLE_MS = 2 * 60_000;
const FAILED_MS = 60_000;

export class Cooldowns {
  readonly #shards = new Map<number, number>();
  readonly #gave = new Map<string, number>();
  readonly #received = new Map<string, number>();
  readonly #failed = new Map<string, number>();

  /** A shard moves to balance load. */
  balanced(nowMs: number, move: { shard: number; from: string; to: string }): void {
    this.#shards.set(move.shard, nowMs + SHARD_MS);
    this.#gave.set(move.from, nowMs + ROLE_MS);
    this.filled(nowMs, move.to);
  }

  /** An edge is given its share. */
  filled(nowMs: number, edgeId: string): void {
    this.#received.set(edgeId, nowMs + ROLE_MS);
  }

  /** The edge has not acquired a shard in time. */
  failed(nowMs: number, edgeId: string): void {
    this.#failed.set(edgeId, nowMs + FAILED_MS);
  }

  isCooling(nowMs: number, shard: number): boolean {
    return isRunning(nowMs, this.#shards, shard);
  }

  mayGive(nowMs: number, edgeId: string): boolean {
    return !isRunning(nowMs, this.#received, edgeId);
  }

  mayReceive(nowMs: number, edgeId: string): boolean {
    return !isRunning(nowMs, this.#gave, edgeId);
  }

  hasFailed(nowMs: number, edgeId: string): boolean {
    return isRunning(nowMs, this.#failed, edgeId);
  }
}

/** Forgets what is over, so that edges with ever new ids do not pile up. */
function isRunning<Key>(nowMs: number, ends: Map<Key, number>, key: Key): boolean {
  const endMs = ends.get(key);
  if (endMs === undefined) return false;
  if (nowMs < endMs) return true;
  ends.delete(key);
  return false;
}
