/**
 * Paces handshakes. A handshake costs an edge much more than an established connection: a token to
 * verify, a shard to subscribe to, an inbox to read. When a hundred thousand devices reconnect at
 * once, they are admitted at a rate at which established connections are still served. Pure.
 *
 * There are two queues. Devices that were connected before go first, because pushes wait for them.
 * New devices are rejected when half of the room is taken, so that they cannot displace the others.
 *
 * The rate adapts to the load that it causes, as a sender's window adapts to loss (RFC 5681), and a
 * rate that is not used is not kept (RFC 7661). It starts at a rate at which the devices of one
 * edge that has died are back in a second, and grows a little in every step in which devices wait.
 * It falls by a third when the event loop is late or inboxes are not read as fast as devices
 * arrive, but at most ten times a second, because the effect shows only later. It returns to its
 * start when no device waits. So the capacity of the machine and of its Redis need not be
 * configured. While no pushes are written, a late event loop delays none, and may be later.
 * This is a control loop with a queue: a TokenBucket has a rate that is configured, and rejects.
 *
 * After a quiet time, a few hundred devices are admitted beyond the rate, even if the event loop
 * is late. So the devices of an edge that has died do not wait for a rate that their own return has
 * lowered. A burst of this size delays less than one push in a hundred of a longer storm.
 *
 * Connections are accepted at one and a half times that rate, and not while the queues are as long
 * as can be admitted in some seconds. The others wait in the kernel: accepting ten thousand at once
 * takes a second in which no device is served, and a device that waits there is not rejected.
 */

export interface HandshakeOptions {
  /** Handshakes per second; 0: not paced. */
  readonly perSecondMax: number;
  /** Bound on both queues together. */
  readonly pendingMax: number;
  /** A device that has waited longer than this is rejected. */
  readonly timeoutMs: number;
}

/** `admitted` it may start now · `queued` it waits for a step · `rejected` there is no room. */
export type Offer = 'admitted' | 'queued' | 'rejected';

/** Load of the edge since the step before. */
export interface Pressure {
  /** How late this step is, in ms. */
  readonly lateMs: number;
  /** Inbox reads that are running or queued. */
  readonly reads: number;
  /** Pushes that were written to devices until now. */
  readonly pushes: number;
}

/** Interval of `step`. */
export const HANDSHAKE_STEP_MS = 20;
/** A later event loop delays devices that are already connected. */
const LATE_MS = 5;
/** The reads of one step end before the next, unless Redis or the edge is overloaded. */
const READS_MAX = 16;
/** The same two while no push was written for a second. */
const LATE_MS_WITHOUT_PUSHES = 50;
const READS_MAX_WITHOUT_PUSHES = 64;
const WITHOUT_PUSHES_STEPS = 50;
/**
 * Start of the growth; this and all values below were chosen with bench:storm and bench:failover.
 */
const PER_SECOND_AT_FIRST = 2_000;
/** Even a busy edge admits some, or a reconnect storm would never end. */
const PER_SECOND_MIN = 300;
/** Doubles in half a second. */
const RAISE = 1.03;
const LOWER = 0.67;
/** The rate is not lowered again for this many steps: devices admitted before still cause load. */
const LOWER_INTERVAL_STEPS = 5;
/** After an idle time no more than this many steps' worth are admitted at once. */
const CREDIT_STEPS = 2;
/** Devices that are admitted beyond the rate after a quiet time; a tenth of a second's at most. */
const BURST_MAX = 400;
const BURST_S_MAX = 0.1;
/** In one step: about ten milliseconds of work. */
const BURST_PER_STEP = 100;
/** The burst is whole again after this many steps in which no device waits: ten seconds. */
const BURST_STEPS = 500;
/**
 * Connections are accepted ahead of admission, so that the requests of returning devices are known
 * before new devices are admitted.
 */
const ACCEPTS_PER_ADMISSION = 1.5;
/** Lower bound: connections that send no request must not keep others out. */
const ACCEPTS_PER_SECOND_MIN = 300;
/** The same while no device waits. */
const ACCEPTS_PER_SECOND_IDLE = 1_000;
/** No connection is accepted while the queues take longer than this at the current rate. */
const QUEUED_S_MAX = 10;

interface Queued<Item> {
  readonly item: Item;
  readonly sinceMs: number;
}

export class Handshakes<Item> {
  /** Oldest first; may include items that have disconnected. */
  readonly #resuming = new Set<Queued<Item>>();
  readonly #others = new Set<Queued<Item>>();
  #perSecond: number;
  #credit: number;
  /** Devices that may still be admitted beyond the rate. */
  #burst: number;
  #stepsSinceLowered = LOWER_INTERVAL_STEPS;
  #pushes = 0;
  #stepsSincePush = WITHOUT_PUSHES_STEPS;

  constructor(readonly options: HandshakeOptions) {
    this.#perSecond = this.#perSecondAtFirst;
    this.#credit = this.#creditMax;
    this.#burst = this.#burstMax;
  }

  get queuedCount(): number {
    return this.#resuming.size + this.#others.size;
  }

  /** The current rate; Infinity if not paced. */
  get perSecond(): number {
    return this.#isPaced ? this.#perSecond : Number.POSITIVE_INFINITY;
  }

  /** Number of connections to accept until the next step. */
  get accepts(): number {
    if (!this.#isPaced) return Number.POSITIVE_INFINITY;
    if (this.queuedCount > this.#perSecond * QUEUED_S_MAX) return 0;
    const least = this.queuedCount === 0 ? ACCEPTS_PER_SECOND_IDLE : ACCEPTS_PER_SECOND_MIN;
    const perSecond = Math.max(least, this.#perSecond * ACCEPTS_PER_ADMISSION);
    return Math.ceil((perSecond * HANDSHAKE_STEP_MS) / 1_000) + this.#burstOfStep;
  }

  /**
   * @param isMemoryLow whether the edge is short of memory: then new devices are rejected
   */
  offer(nowMs: number, item: Item, isResuming: boolean, isMemoryLow: boolean): Offer {
    const { queuedCount } = this;
    const room = isResuming ? this.options.pendingMax : this.options.pendingMax / 2;
    if (isMemoryLow && !isResuming) return 'rejected';
    if (!this.#isPaced) return 'admitted';
    if (queuedCount === 0 && this.#credit >= 1) {
      this.#credit--;
      return 'admitted';
    }
    if (queuedCount >= room) return 'rejected';
    (isResuming ? this.#resuming : this.#others).add({ item, sinceMs: nowMs });
    return 'queued';
  }

  /**
   * @param isConnected whether a queued device is still connected
   * @returns the devices that are admitted now, and those that have waited too long
   */
  step(
    nowMs: number,
    pressure: Pressure,
    isConnected: (item: Item) => boolean,
  ): { admitted: Item[]; expired: Item[] } {
    const { timeoutMs } = this.options;
    this.#perSecond = this.#nextPerSecond(pressure);
    // Lost time is not made up for: it was lost because of overload.
    const earned = (this.#perSecond * HANDSHAKE_STEP_MS) / 1_000;
    this.#credit = Math.min(this.#creditMax, this.#credit + earned);
    if (this.queuedCount === 0) this.#refillBurst();
    let room = Math.floor(this.#credit) + this.#burstOfStep;
    const admitted: Item[] = [];
    const expired: Item[] = [];
    for (const queue of [this.#resuming, this.#others]) {
      for (const queued of queue) {
        const isExpired = nowMs > queued.sinceMs + timeoutMs;
        if (!isExpired && room < 1) break;
        queue.delete(queued);
        if (!isConnected(queued.item)) continue;
        if (isExpired) {
          expired.push(queued.item);
        } else {
          room--;
          admitted.push(queued.item);
        }
      }
    }
    this.#take(admitted.length);
    return { admitted, expired };
  }

  #refillBurst(): void {
    const max = this.#burstMax;
    this.#burst = Math.min(max, this.#burst + max / BURST_STEPS);
  }

  /** Credit is used before the burst. */
  #take(count: number): void {
    const ofCredit = Math.min(count, Math.floor(this.#credit));
    this.#credit -= ofCredit;
    if (count === ofCredit) return;
    this.#burst -= count - ofCredit;
    this.#stepsSinceLowered = 0;
  }

  #nextPerSecond(pressure: Pressure): number {
    const { perSecondMax } = this.options;
    const now = this.#perSecond;
    this.#stepsSinceLowered++;
    if (this.#isTooHigh(pressure)) {
      // The load of the burst says nothing about the rate.
      const isBurst = this.queuedCount > 0 && this.#burstOfStep > 0;
      if (isBurst || this.#stepsSinceLowered < LOWER_INTERVAL_STEPS) return now;
      this.#stepsSinceLowered = 0;
      return Math.max(Math.min(perSecondMax, PER_SECOND_MIN), now * LOWER);
    }
    if (this.queuedCount > 0) return Math.min(perSecondMax, now * RAISE);
    const atFirst = this.#perSecondAtFirst;
    return now < atFirst ? Math.min(atFirst, now * RAISE) : Math.max(atFirst, now / RAISE);
  }

  #isTooHigh({ lateMs, reads, pushes }: Pressure): boolean {
    this.#stepsSincePush = pushes > this.#pushes ? 0 : this.#stepsSincePush + 1;
    this.#pushes = pushes;
    return this.#stepsSincePush < WITHOUT_PUSHES_STEPS
      ? lateMs > LATE_MS || reads > READS_MAX
      : lateMs > LATE_MS_WITHOUT_PUSHES || reads > READS_MAX_WITHOUT_PUSHES;
  }

  get #isPaced(): boolean {
    return this.options.perSecondMax > 0;
  }

  get #burstOfStep(): number {
    return Math.min(BURST_PER_STEP, Math.floor(this.#burst));
  }

  get #burstMax(): number {
    return Math.min(BURST_MAX, this.options.perSecondMax * BURST_S_MAX);
  }

  get #perSecondAtFirst(): number {
    return Math.min(this.options.perSecondMax, PER_SECOND_AT_FIRST);
  }

  get #creditMax(): number {
    return Math.max(1, (this.#perSecond * HANDSHAKE_STEP_MS * CREDIT_STEPS) / 1_000);
  }
}
