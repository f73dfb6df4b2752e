/**
 * Who may begin when. A handshake costs an edge much more than a connection that is held: a token
 * to check, a shard to subscribe to, an inbox to read. When a hundred thousand devices come back at
 * once, they are let in at a rate under which those who are connected go on being served. Pure.
 *
 * Two pipelines: devices that were connected before go first, because pushes wait for them. New ones
 * are turned away when half of the room is taken, so that they cannot keep the others out.
 *
 * The rate follows what it does to the edge, as a sender's window follows what the network loses
 * (RFC 5681), and what is not used is not kept (RFC 7661). It begins low, grows a little in every step in which somebody waits, falls by a third when the event
 * loop is late or inboxes are not read as fast as devices come, and goes back to where it began when
 * nobody waits. Nobody has to know what this machine and its Redis can bear.
 *
 * Connections are accepted in step with that, half as fast again as devices are let in. The others
 * wait with the kernel: to accept ten thousand at once takes a second in which nobody is served.
 */

export interface HandshakeOptions {
  /** 0: everybody is let in at once. */
  readonly perSecondMax: number;
  /** Of both pipelines together. */
  readonly waitingMax: number;
  /** Who has waited for longer is told to come again. */
  readonly waitMsMax: number;
}

export type Offer = 'enter' | 'wait' | 'rejected';

/** What the edge is like after the step before. */
export interface Pressure {
  /** How late this step is, in ms. */
  readonly lateMs: number;
  /** Inboxes that are being read or wait to be. */
  readonly reads: number;
}

/** How often `step` is to be called. */
export const HANDSHAKE_STEP_MS = 20;
/** An event loop that is later than this keeps those waiting who are connected already. */
const LATE_MS = 10;
/** Those of one step are read before the next one, unless Redis or the edge has too much to do. */
const READS_MAX = 16;
/** Where the growth begins; as all that follows, chosen with bench:storm. */
const PER_SECOND_AT_FIRST = 500;
/** Even a busy edge lets some in, or the storm would never end. */
const PER_SECOND_MIN = 200;
/** Doubles in 1.4 s; level when every fortieth step is too much. */
const RAISE = 1.01;
const LOWER = 0.67;
/** After an idle time no more than this many steps' worth come in at once. */
const BURST_STEPS = 2;
/** A lead, so that those who come back are known before those who are new have their turn. */
const ACCEPTS_PER_ENTRY = 1.5;
/** At least so many are accepted: whoever connects and wants nothing must not keep others out. */
const ACCEPTS_PER_SECOND_MIN = 300;
/** The same while nobody waits. */
const ACCEPTS_PER_SECOND_IDLE = 1_000;

interface Waiting<Item> {
  readonly item: Item;
  readonly sinceMs: number;
}

export class Handshakes<Item> {
  /** Oldest first; whoever has gone meanwhile is still in it. */
  readonly #resuming = new Set<Waiting<Item>>();
  readonly #others = new Set<Waiting<Item>>();
  #perSecond: number;
  #credit: number;

  constructor(readonly options: HandshakeOptions) {
    this.#perSecond = this.#perSecondAtFirst;
    this.#credit = this.#creditMax;
  }

  get waitingCount(): number {
    return this.#resuming.size + this.#others.size;
  }

  /** At the moment. Without a pace, Infinity. */
  get perSecond(): number {
    return this.#isPaced ? this.#perSecond : Number.POSITIVE_INFINITY;
  }

  /** How many connections may be accepted until the next step. */
  get accepts(): number {
    if (!this.#isPaced) return Number.POSITIVE_INFINITY;
    const least = this.waitingCount === 0 ? ACCEPTS_PER_SECOND_IDLE : ACCEPTS_PER_SECOND_MIN;
    const perSecond = Math.max(least, this.#perSecond * ACCEPTS_PER_ENTRY);
    return Math.ceil((perSecond * HANDSHAKE_STEP_MS) / 1_000);
  }

  /**
   * @param isShort whether the edge is short of memory: then nobody new is let in
   */
  offer(nowMs: number, item: Item, isResuming: boolean, isShort: boolean): Offer {
    const { waitingCount } = this;
    const room = isResuming ? this.options.waitingMax : this.options.waitingMax / 2;
    if (isShort && !isResuming) return 'rejected';
    if (!this.#isPaced) return 'enter';
    if (waitingCount === 0 && this.#credit >= 1) {
      this.#credit--;
      return 'enter';
    }
    if (waitingCount >= room) return 'rejected';
    (isResuming ? this.#resuming : this.#others).add({ item, sinceMs: nowMs });
    return 'wait';
  }

  /**
   * @param isHere whether whoever waits is still there
   * @returns who may enter now, and who has waited for too long
   */
  step(
    nowMs: number,
    pressure: Pressure,
    isHere: (item: Item) => boolean,
  ): { entering: Item[]; late: Item[] } {
    const { waitMsMax } = this.options;
    this.#perSecond = this.#nextPerSecond(pressure);
    // Time that was lost is not made up for: it was lost because there was too much to do.
    const earned = (this.#perSecond * HANDSHAKE_STEP_MS) / 1_000;
    this.#credit = Math.min(this.#creditMax, this.#credit + earned);
    const entering: Item[] = [];
    const late: Item[] = [];
    for (const pipeline of [this.#resuming, this.#others]) {
      for (const waiting of pipeline) {
        const isOver = nowMs > waiting.sinceMs + waitMsMax;
        if (!isOver && this.#credit < 1) break;
        pipeline.delete(waiting);
        if (!isHere(waiting.item)) continue;
        if (isOver) {
          late.push(waiting.item);
        } else {
          this.#credit--;
          entering.push(waiting.item);
        }
      }
    }
    return { entering, late };
  }

  #nextPerSecond({ lateMs, reads }: Pressure): number {
    const { perSecondMax } = this.options;
    const now = this.#perSecond;
    if (lateMs > LATE_MS || reads > READS_MAX) {
      return Math.max(Math.min(perSecondMax, PER_SECOND_MIN), now * LOWER);
    }
    if (this.waitingCount > 0) return Math.min(perSecondMax, now * RAISE);
    const atFirst = this.#perSecondAtFirst;
    return now < atFirst ? Math.min(atFirst, now * RAISE) : Math.max(atFirst, now / RAISE);
  }

  get #isPaced(): boolean {
    return this.options.perSecondMax > 0;
  }

  get #perSecondAtFirst(): number {
    return Math.min(this.options.perSecondMax, PER_SECOND_AT_FIRST);
  }

  get #creditMax(): number {
    return Math.max(1, (this.#perSecond * HANDSHAKE_STEP_MS * BURST_STEPS) / 1_000);
  }
}
