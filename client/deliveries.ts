/**
 * What the application has not taken yet: pushes, and gaps before them, passed on one at a time and
 * in order. The newest id received and the newest id taken differ while the application works: the
 * former detects repeats, and only the latter is confirmed.
 *
 * Bound: `LENGTH_MAX`; one push of any size when nothing waits.
 */
import { isNewer, type Push } from './messages.js';

/** Characters of texts and bytes of binary payloads, as the default bound of an inbox. */
const LENGTH_MAX = 4 * 1024 * 1024;
/** Counted for each push beside its payload, so at most 1,024 wait. */
const PUSH_LENGTH = 4 * 1024;

/** A push, or a gap (undefined), that the application is to take. */
export interface Delivery {
  /** Number of this call of the application; its result carries it. */
  readonly delivery: number;
  readonly push: Push | undefined;
}

export class Deliveries {
  /** Whether `add` rejected a push, and not all that waited then is taken yet. */
  isFull = false;
  /** Oldest first; undefined is a gap. The application has the first one if `#current` is not 0. */
  #waiting: (Push | undefined)[] = [];
  #length = 0;
  #count = 0;
  /** Number of the delivery that the application has; 0: none. */
  #current = 0;
  /** Consecutive failures of what `#failedId` names. */
  #failures = 0;
  /** Id of the push that failed last, '' for a gap. */
  #failedId: string | undefined;
  /** Newest id received since the last gap; '' for none. */
  #received: string;

  /** @param taken newest id that the application has taken, the cursor of a connect; '' for none */
  constructor(public taken: string) {
    this.#received = taken;
  }

  /** Whether a gap waits: ids before it and after it cannot be compared. */
  get hasGap(): boolean {
    return this.#waiting.includes(undefined);
  }

  /**
   * Whether a connect has to wait: too much waits already, or it would get parts of a growing
   * message again that wait, in one push with later ones.
   */
  get isBusy(): boolean {
    return this.isFull || this.#waiting.some((push) => push?.appended);
  }

  /** @returns false, and nothing is added, if too much waits already */
  add(push: Push): boolean {
    if (push.id !== undefined && !isNewer(push.id, this.#received)) return true;
    const length = this.#length + lengthOf(push);
    this.isFull = length > LENGTH_MAX && this.#waiting.length > 0;
    if (this.isFull) return false;
    this.#received = push.id ?? this.#received;
    this.#length = length;
    this.#waiting.push(push);
    return true;
  }

  /** Afterwards any id is new: Redis may have lost its data and assign smaller ids. */
  addGap(): void {
    this.#received = '';
    const last = this.#waiting.length - 1;
    const isLastAGap = last >= Math.min(1, this.#current) && this.#waiting[last] === undefined;
    if (!isLastAGap) this.#waiting.push(undefined);
  }

  /**
   * Returns what the application is to take now, if anything; after a failure only when connected
   * again.
   */
  next(isConnected: boolean): Delivery | undefined {
    const isPaused = !isConnected && this.#failedId !== undefined;
    if (this.#current > 0 || isPaused || this.#waiting.length === 0) return undefined;
    this.#current = ++this.#count;
    return { delivery: this.#current, push: this.#waiting[0] };
  }

  /**
   * The application has taken a delivery, or has failed to.
   * @returns number of consecutive failures of a push with an id, or of a gap: pushes after it are
   *   dropped and expected again. 0 otherwise: a live-only push exists once
   */
  settle(delivery: number, isTaken: boolean): number {
    if (delivery !== this.#current) return 0;
    this.#current = 0;
    const push = this.#waiting[0];
    const id = idOf(push);
    if (!isTaken && id !== undefined) return this.#fail(id);
    this.#waiting.shift();
    if (push) this.#length -= lengthOf(push);
    if (this.#waiting.length === 0) this.isFull = false;
    if (id !== undefined) {
      this.taken = id;
      this.#failedId = undefined;
    }
    return 0;
  }

  /** Drops everything and begins with a gap, without a cursor: another connection takes pushes. */
  restart(): void {
    this.taken = '';
    this.#drop([undefined]);
  }

  #fail(id: string): number {
    this.#failures = id === this.#failedId ? this.#failures + 1 : 1;
    this.#failedId = id;
    this.#drop(this.hasGap ? [undefined] : []);
    return this.#failures;
  }

  /** The result of a call that is not over is ignored. */
  #drop(waiting: undefined[]): void {
    this.#waiting = waiting;
    this.#received = this.taken;
    this.#length = 0;
    this.#current = 0;
    this.isFull = false;
  }
}

/** Returns '' for a gap, as afterwards there is no cursor; undefined for a live-only push. */
function idOf(push: Push | undefined): string | undefined {
  return push === undefined ? '' : push.id;
}

function lengthOf(push: Push): number {
  return push.data.length + PUSH_LENGTH;
}
