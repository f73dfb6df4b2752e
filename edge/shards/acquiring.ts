/**
 * Shards that are moving to this edge. The edge reports a shard as acquired when its channel is
 * proven to deliver: Redis has confirmed the subscription, and a message has arrived since then.
 * The confirmation alone is not enough: a partitioned master confirms as well, and messages that
 * are published on the other side never arrive. On a quiet channel the edge publishes a probe.
 * Pure.
 */

/**
 * An unanswered probe is repeated: it may have been lost with a connection, or sent before a late
 * confirmation.
 */
const PROBE_AGAIN_MS = 500;

interface Proof {
  isProven: boolean;
  probedAtMs: number;
}

export class Acquiring {
  #shards: ReadonlyMap<number, Proof> = new Map();

  /** @param shards all shards that are moving here now */
  assign(shards: readonly number[]): void {
    const before = this.#shards;
    this.#shards = new Map(
      shards.map((shard) => [shard, before.get(shard) ?? unproven()] as const),
    );
  }

  has(shard: number): boolean {
    return this.#shards.has(shard);
  }

  /** A message has arrived over the channel of a shard whose subscription is confirmed. */
  onMessage(shard: number): void {
    const proof = this.#shards.get(shard);
    if (proof !== undefined) proof.isProven = true;
  }

  /** The subscription was lost, and with it the proof. */
  onLost(shard: number): void {
    const proof = this.#shards.get(shard);
    if (proof !== undefined) Object.assign(proof, unproven());
  }

  /** Returns the shards to publish a probe for now. */
  takeProbes(nowMs: number, isConfirmed: (shard: number) => boolean): number[] {
    const due: number[] = [];
    for (const [shard, proof] of this.#shards) {
      if (proof.isProven || nowMs < proof.probedAtMs + PROBE_AGAIN_MS || !isConfirmed(shard)) {
        continue;
      }
      proof.probedAtMs = nowMs;
      due.push(shard);
    }
    return due;
  }

  acquired(): number[] {
    return [...this.#shards].filter(([, { isProven }]) => isProven).map(([shard]) => shard);
  }
}

function unproven(): Proof {
  return { isProven: false, probedAtMs: Number.NEGATIVE_INFINITY };
}
