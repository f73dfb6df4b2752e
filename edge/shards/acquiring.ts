/**
 * Shards that are moving to this edge. It says that it has acquired one when its channel is proven
 * to deliver: Redis has confirmed the subscription, and since then something came over the channel.
 * The confirmation alone would not do: a master that was cut off confirms as well, and what is
 * published elsewhere never comes. On a quiet channel the something is a probe of our own. Pure.
 */

/** An unanswered probe is sent again: it may be lost with a connection, or precede a confirmation. */
const PROBE_AGAIN_MS = 500;

interface Proof {
  isProven: boolean;
  probedAtMs: number;
}

export class Acquiring {
  #shards: ReadonlyMap<number, Proof> = new Map();

  /** @param shards all that are moving here now */
  assign(shards: readonly number[]): void {
    const before = this.#shards;
    this.#shards = new Map(
      shards.map((shard) => [shard, before.get(shard) ?? unproven()] as const),
    );
  }

  has(shard: number): boolean {
    return this.#shards.has(shard);
  }

  /** Something came over the channel of a shard whose subscription is confirmed. */
  heard(shard: number): void {
    const proof = this.#shards.get(shard);
    if (proof !== undefined) proof.isProven = true;
  }

  /** The subscription was lost, and with it whatever it had proven. */
  lost(shard: number): void {
    const proof = this.#shards.get(shard);
    if (proof !== undefined) Object.assign(proof, unproven());
  }

  /** The shards to publish a probe for now. */
  toProbe(nowMs: number, isConfirmed: (shard: number) => boolean): number[] {
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
