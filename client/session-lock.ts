/**
 * Order among the tabs of a browser that share a clientId. The tab that connects last takes the
 * lock from the one before it. A tab whose session was replaced waits for the lock, which the
 * browser releases when the other tab closes or crashes.
 *
 * A tab takes the lock only when the application calls `connect`, and waits only for a tab that
 * took the lock from it. So two tabs never replace each other in turn, nor does a tab replace a
 * connection of another browser again and again.
 */

/** Part of the Web Locks API that the client uses. */
export interface Locks {
  request(name: string, options: { steal: boolean }, hold: () => Promise<void>): Promise<unknown>;
  query(): Promise<unknown>;
}

export class SessionLock {
  #isReleased = false;
  #release: (() => void) | undefined;
  #wasTaken = false;

  constructor(
    readonly locks: Locks,
    readonly name: string,
  ) {}

  /**
   * Waits until this tab has the lock.
   * @param steal whether to take it from any other tab
   * @returns false if the tab cannot have it
   */
  acquire(steal: boolean): Promise<boolean> {
    this.#wasTaken = false;
    return new Promise((resolve) => {
      const hold = () => {
        resolve(true);
        return new Promise<void>((release) => {
          this.#release = release;
          if (this.#isReleased) release();
        });
      };
      this.locks.request(this.name, { steal }, hold).catch(() => {
        this.#wasTaken = true;
        resolve(false);
      });
    });
  }

  /**
   * Waits until the tab that took the lock has released it.
   * @returns false if no tab of this browser took it
   */
  async waitForTurn(): Promise<boolean> {
    // A reply of the lock manager comes after its message that the lock was taken.
    await this.locks.query().catch(() => {});
    return this.#wasTaken && this.acquire(false);
  }

  /** Lets the next tab connect. Final. */
  release(): void {
    this.#isReleased = true;
    this.#release?.();
  }
}
