/** Takes parts of groups in turn, so that no edge gets all of its work at once. Pure. */
export class Rounds<Item> {
  readonly #groups: (readonly Item[])[];
  #left: number;

  constructor(groups: Iterable<readonly Item[]>) {
    this.#groups = [...groups].filter(({ length }) => length > 0);
    this.#left = this.#groups.reduce((sum, { length }) => sum + length, 0);
  }

  /** Items that were not taken. */
  get left(): number {
    return this.#left;
  }

  /** Takes up to `max` items of the next group; undefined: none is left. */
  next(max: number): readonly Item[] | undefined {
    const group = this.#groups.shift();
    if (group === undefined) return undefined;
    if (group.length > max) this.#groups.push(group.slice(max));
    const taken = group.slice(0, max);
    this.#left -= taken.length;
    return taken;
  }
}
