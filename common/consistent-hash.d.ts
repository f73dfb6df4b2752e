declare module 'consistent-hash' {
  /** The parts of consistent-hash 1.2.2 that we use; it ships no types. */
  export default class ConsistentHash {
    constructor(options: { range: number });
    /** `points` are given explicitly: the defaults are random and differ between processes. */
    add(node: string, weight: number, points: number[]): this;
    get(name: string): string | null;
    /** Must stay below 2^26: the library shifts it left by five bits. */
    _hash: (name: string) => number;
  }
}
