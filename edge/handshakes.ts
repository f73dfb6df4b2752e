/**
 * Who may begin when. A handshake costs an edge much more than a connection that is held: a token
 * to check, a shard to subscribe to, an inbox to read. When a hundred thousand devices come back at
 * once, they are let in at a rate under which those who are connected go on being served. Pure.
 *
 * Two lanes: devices that were connected before go first, because pushes wait for them. New ones
 * are turned away when half of the room is taken, so that they cannot keep the others out.
 *
 * The rate follows the event loop: a little up while it is on time, down by a third when it is
 * late, never over what is configured. Nobody has to know what this machine can bear.
 */

export interface HandshakeOptions {
  readonly perSecondMax: number;
  /** Of both lanes together. */
  readonly waitingMax: number;
  /** Who has waited for longer is told to come again. */
  readonly waitMsMax: number;
}

export type Offer = 'enter' | 'wait' | 'refused';

/** How often `step` is to be called. */
export const HANDSHAKE_STEP_MS = 20;
/** An event loop that is later than this keeps those waiting who are connected already. */
const LATE_MS = 30;
/** Even a busy edge lets some in, or the storm would never end. */
const PER_SECOND_MIN = 100;
const RAISE = 1.02;
const LOWER = 0.67;
/** After an idle time no more than this many steps' worth come in at once. */
const BURST_STEPS = 2;

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
    this.#perSecond = options.perSecondMax;
    this.#credit = this.#creditMax;
  }

  get waitingCount(): number {
    return this.#resuming.size + this.#others.size;
  }

  /** At the moment. */
  get perSecond(): number {
    return this.#perSecond;
  }

  /**
   * @param isShort whether the edge is short of memory: then nobody new is let in
   */
  offer(nowMs: number, item: Item, isResuming: boolean, isShort: boolean): Offer {
    const { waitingCount } = this;
    const room = isResuming ? this.options.waitingMax : this.options.waitingMax / 2;
    if (isShort && !isResuming) return 'refused';
    if (waitingCount === 0 && this.#credit >= 1) {
      this.#credit--;
      return 'enter';
    }
    if (waitingCount >= room) return 'refused';
    (isResuming ? this.#resuming : this.#others).add({ item, sinceMs: nowMs });
    return 'wait';
  }

  /**
   * @param lateMs how late this call is
   * @param isHere whether whoever waits is still there
   * @returns who may enter now, and who has waited for too long
   */
  step(
    nowMs: number,
    lateMs: number,
    isHere: (item: Item) => boolean,
  ): { entering: Item[]; late: Item[] } {
    const { perSecondMax, waitMsMax } = this.options;
    const wanted = this.#perSecond * (lateMs > LATE_MS ? LOWER : RAISE);
    this.#perSecond = Math.min(perSecondMax, Math.max(PER_SECOND_MIN, wanted));
    // Time that was lost is not made up for: it was lost because there was too much to do.
    const earned = (this.#perSecond * HANDSHAKE_STEP_MS) / 1_000;
    this.#credit = Math.min(this.#creditMax, this.#credit + earned);
    const entering: Item[] = [];
    const late: Item[] = [];
    for (const lane of [this.#resuming, this.#others]) {
      for (const waiting of lane) {
        const isOver = nowMs > waiting.sinceMs + waitMsMax;
        if (!isOver && this.#credit < 1) break;
        lane.delete(waiting);
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

  get #creditMax(): number {
    return Math.max(1, (this.#perSecond * HANDSHAKE_STEP_MS * BURST_STEPS) / 1_000);
  }
}
