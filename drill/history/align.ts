/** Alignment of two sequences in their order. Pure. */

export interface AlignRules<A, B> {
  readonly matches: (a: A, b: B) => boolean;
  /** Whether it may be without a counterpart. */
  readonly mayMissA: (a: A) => boolean;
}

export interface Alignment<A, B> {
  /** Without those that may miss. */
  readonly unmatchedA: readonly A[];
  readonly unmatchedB: readonly B[];
}

/**
 * Pairs elements that match so that no two pairs cross, and as few as possible are left over. Takes
 * time and memory in proportion to the product of the lengths.
 */
export function align<A, B>(
  as: readonly A[],
  bs: readonly B[],
  { matches, mayMissA }: AlignRules<A, B>,
): Alignment<A, B> {
  const costs = as.map((a) => (mayMissA(a) ? 0 : 1));
  const width = bs.length + 1;
  /** By `i * width + j`: the number of those left over of `as` from i and `bs` from j. */
  const left = new Uint32Array((as.length + 1) * width);
  const at = (i: number, j: number) => left[i * width + j]!;
  for (let i = as.length; i >= 0; i--) {
    for (let j = bs.length; j >= 0; j--) {
      if (i === as.length) left[i * width + j] = bs.length - j;
      else {
        let best = at(i + 1, j) + costs[i]!;
        if (j < bs.length) {
          best = Math.min(best, at(i, j + 1) + 1);
          if (matches(as[i]!, bs[j]!)) best = Math.min(best, at(i + 1, j + 1));
        }
        left[i * width + j] = best;
      }
    }
  }
  const unmatchedA: A[] = [];
  const unmatchedB: B[] = [];
  let [i, j] = [0, 0];
  while (i < as.length || j < bs.length) {
    const [a, b] = [as[i], bs[j]];
    if (i < as.length && j < bs.length && matches(a!, b!) && at(i, j) === at(i + 1, j + 1)) {
      i++;
      j++;
    } else if (i < as.length && at(i, j) === at(i + 1, j) + costs[i]!) {
      if (costs[i] === 1) unmatchedA.push(a!);
      i++;
    } else {
      unmatchedB.push(b!);
      j++;
    }
  }
  return { unmatchedA, unmatchedB };
}
