declare module 'consistent-hash' {
  /** The parts of consistent-hash 1.2.2 that we use; it ships no types. */
  export default class ConsistentHash {
    constructor(options: { range: number });
    /** `points` are given explicitly: the defaults are random and differ between processes. */
    add(node: string, weight: number, points: number[]): this;
    /** The first `count` different nodes from the name's place on; null while there is no node. */
    get(name: string, count: number): string[] | null;
    /** Must stay below 2^26: the library shifts it left by five bits. */
    _hash: (name: string) => number;
  }
}
