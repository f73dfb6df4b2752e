/** Statistics of measured values, none of which is assumed to be distributed normally. */

/** The upper one of the two middle values of an even number. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** The median of one figure of several runs, rounded to `digits` decimal places. */
export function medianOf<Run>(
  runs: readonly Run[],
  figure: (run: Run) => number,
  digits: number,
): number {
  return rounded(median(runs.map(figure)), digits);
}

/** Nearest rank. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]!;
}

/**
 * Growth of `y` per unit of `x`: the median of the slopes between any two points (Theil, 1950; Sen,
 * 1968). A constant offset does not count, and a single outlier has no effect.
 */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const slopes = points.flatMap(([x, y], i) =>
    points.slice(i + 1).map(([otherX, otherY]) => (otherY - y) / (otherX - x)),
  );
  return median(slopes);
}

export function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

export function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
