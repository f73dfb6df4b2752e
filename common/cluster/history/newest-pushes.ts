/**
 * The newest push of each shard that this process has stored or received, and whether Redis still
 * knows it after a failover or a restart: these may have lost it. The counter of the shard shows
 * that only until callers have repeated as many pushes as were lost, which takes milliseconds.
 *
 * Memory: one entry per shard at most, in each of the two maps.
 */
import { areKnownToRedis, type KnownPush } from './known-pushes.js';
import type { CountersLink } from './shard-counters.js';

/** One script call reads this many, a few microseconds each. */
const CHECKED_AT_ONCE = 256;

export interface NewestPushesOptions {
  readonly link: CountersLink;
  /** Redis has lost the push, and so perhaps others of its shard. */
  readonly onLost: (push: KnownPush) => void;
}

export class NewestPushes {
  /** By channel of the shard. */
  readonly #newest = new Map<string, { clientId: string; id: string }>();
  /**
   * By channel: a push that Redis must be asked about, because later ones prove nothing about it.
   */
  readonly #unchecked = new Map<string, KnownPush>();
  #isChecking = false;

  constructor(readonly options: NewestPushesOptions) {}

  onPush(channel: string, clientId: string, id: string): void {
    const newest = this.#newest.get(channel);
    if (newest === undefined) {
      this.#newest.set(channel, { clientId, id });
    } else {
      newest.clientId = clientId;
      newest.id = id;
    }
  }

  /** Time of the newest id, Unix ms by the clock of Redis; 0: none. */
  newestMs(): number {
    let newestMs = 0;
    for (const { id } of this.#newest.values()) {
      newestMs = Math.max(newestMs, Number.parseInt(id, 10));
    }
    return newestMs;
  }

  /** The newest push of the shard has to be checked. */
  doubt(channel: string): void {
    const newest = this.#newest.get(channel);
    if (newest === undefined || this.#unchecked.has(channel)) return;
    this.#unchecked.set(channel, { ...newest, channel });
  }

  doubtAll(): void {
    for (const channel of this.#newest.keys()) this.doubt(channel);
  }

  /** A loss of the shard is known already. */
  forget(channel: string): void {
    this.#newest.delete(channel);
    this.#unchecked.delete(channel);
  }

  /** To be called several times a second. Never rejects. */
  async step(): Promise<void> {
    if (this.#isChecking || this.#unchecked.size === 0) return;
    this.#isChecking = true;
    const checked = [...this.#unchecked.values()].slice(0, CHECKED_AT_ONCE);
    const known = await areKnownToRedis(this.options.link, checked);
    this.#isChecking = false;
    for (const [i, push] of checked.entries()) {
      const { channel } = push;
      // The loss was noticed otherwise meanwhile.
      if (this.#unchecked.get(channel) !== push) continue;
      this.#unchecked.delete(channel);
      // Redis does not answer: after the others.
      if (known[i] === undefined) this.#unchecked.set(channel, push);
      if (known[i] !== false) continue;
      this.forget(channel);
      this.options.onLost(push);
    }
  }
}
