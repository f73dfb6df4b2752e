declare module 'consistent-hash' {
  /** The parts of consistent-hash 1.2.2 that are used here; the package ships no types. */
  export default class ConsistentHash {
    constructor(options: { range: number });
    /** `points` must be given: the defaults are random and differ between processes. */
    add(node: string, weight: number, points: number[]): this;
    /** The first `count` distinct nodes clockwise from `name`; null while there are no nodes. */
    get(name: string, count: number): string[] | null;
    /** The points of all nodes, sorted; computed by the first `get` unless set. */
    _keys: ArrayLike<number>;
    /** Must stay below 2^26: the library shifts it left by five bits. */
    _hash: (name: string) => number;
  }
}
