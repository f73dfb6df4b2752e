/**
 * Detects lost pushes: Redis pub/sub drops messages silently. Every durable push of a shard carries
 * the next number of that shard, so a gap shows with the push after it. A lost last push shows when
 * the shard's counter in Redis stays ahead of the received numbers. Pure.
 *
 * A number that arrives again is a duplicate if its push has the same id: until a subscription has
 * moved to another master, two servers may deliver. With another id, Redis has assigned the number
 * twice, so it has lost writes.
 */

/** Pushes of a shard whose ids are remembered. An earlier one proves nothing when it arrives. */
const REMEMBERED = 16;

/**
 * `next` no earlier push is missing · `gap` an earlier push is missing · `duplicate` it has arrived
 * before · `late` it should have arrived before, or Redis has lost writes: only the shard's counter
 * can tell · `reassigned` its number was another push's: Redis has lost writes.
 */
export type PushOrder = 'next' | 'gap' | 'duplicate' | 'late' | 'reassigned';

export class Sequences {
  /** By shard: number of the newest received push; NaN: unknown. */
  readonly #last: Float64Array;
  /** By shard: counter at the last poll if it was ahead of the received numbers; otherwise NaN. */
  readonly #ahead: Float64Array;
  /**
   * By shard: the highest numbers of pushes and of counters that were received. They outlive a
   * subscription: a number below them always means that Redis has lost writes.
   */
  readonly #highestPush: Float64Array;
  readonly #highestCounter: Float64Array;
  /** By shard; only shards with pushes. They outlive a subscription, too. */
  readonly #recent = new Map<number, RecentIds>();

  constructor(shardCount: number) {
    this.#last = new Float64Array(shardCount).fill(Number.NaN);
    this.#ahead = new Float64Array(shardCount).fill(Number.NaN);
    this.#highestPush = new Float64Array(shardCount);
    this.#highestCounter = new Float64Array(shardCount);
  }

  /** The subscription was lost: later numbers prove nothing about what was missed meanwhile. */
  forget(shard: number): void {
    this.#last[shard] = this.#ahead[shard] = Number.NaN;
  }

  /** The highest number that Redis has assigned as far as this edge knows; 0: none. */
  highest(shard: number): number {
    return Math.max(this.#highestPush[shard]!, this.#highestCounter[shard]!);
  }

  /** Redis has lost writes, and assigns numbers after `seq` again. */
  restart(shard: number, seq: number): void {
    this.#highestPush[shard] = this.#highestCounter[shard] = seq;
    // Numbers from before the loss say nothing about those that follow.
    this.#last[shard] = Math.min(this.#last[shard]!, seq);
    this.#ahead[shard] = Number.NaN;
    this.#recent.delete(shard);
  }

  /**
   * Records a received push. It is only compared with earlier pushes: the reply with the counter
   * comes over another connection and may overtake them. So a push that the counter includes is no
   * gap: the inboxes are read after the counter, and contain all pushes up to it.
   */
  onPush(shard: number, seq: number, id: string): PushOrder {
    const known = this.#recent.get(shard)?.idOf(seq);
    if (known === id) return 'duplicate';
    if (known !== undefined) this.restart(shard, seq);
    const isLate = seq < this.#highestPush[shard]!;
    this.#remember(shard, seq, id);
    if (isLate) return 'late';
    const last = this.#last[shard]!;
    this.#last[shard] = this.#highestPush[shard] = seq;
    if (known !== undefined) return 'reassigned';
    return Number.isNaN(last) || seq <= last + 1 ? 'next' : 'gap';
  }

  /**
   * Records the shard's counter. Returns false if it was ahead at the previous poll already and the
   * pushes up to there have still not arrived: a single poll could overtake a push in flight.
   */
  onCounter(shard: number, counter: number): boolean {
    const last = this.#last[shard]!;
    this.#highestCounter[shard] = counter;
    if (Number.isNaN(last)) {
      this.#last[shard] = counter;
      return true;
    }
    const isLost = last < this.#ahead[shard]!;
    if (isLost) this.#last[shard] = this.#ahead[shard]!;
    this.#ahead[shard] = counter > this.#last[shard]! ? counter : Number.NaN;
    return !isLost;
  }

  #remember(shard: number, seq: number, id: string): void {
    const recent = this.#recent.get(shard) ?? new RecentIds();
    recent.add(seq, id);
    this.#recent.set(shard, recent);
  }
}

/** The ids of the newest pushes of a shard, at the index of their number modulo `REMEMBERED`. */
class RecentIds {
  readonly #seqs = new Float64Array(REMEMBERED);
  readonly #ids: string[] = new Array(REMEMBERED).fill('');

  idOf(seq: number): string | undefined {
    const i = seq % REMEMBERED;
    return this.#seqs[i] === seq ? this.#ids[i] : undefined;
  }

  add(seq: number, id: string): void {
    const i = seq % REMEMBERED;
    if (seq < this.#seqs[i]!) return;
    this.#seqs[i] = seq;
    this.#ids[i] = id;
  }
}
