/** The newest streams that a server has reset: what their client sent before it knew is ignored. */

const STREAMS_MAX = 1_000;

export class RecentStreams {
  /** Oldest first. */
  readonly #ids = new Set<number>();

  has(streamId: number): boolean {
    return this.#ids.has(streamId);
  }

  add(streamId: number): void {
    this.#ids.add(streamId);
    if (this.#ids.size <= STREAMS_MAX) return;
    const [oldest] = this.#ids;
    this.#ids.delete(oldest!);
  }
}
