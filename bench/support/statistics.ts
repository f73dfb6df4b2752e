/** What benches say of their numbers. */

/** The upper one of two in the middle. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** Nearest rank. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]!;
}

/**
 * How much `y` grows with each `x`: the median of the slopes between any two points (Theil, 1950;
 * Sen, 1968). What is there anyway does not count, and one odd point does not matter.
 */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const slopes = points.flatMap(([x, y], i) =>
    points.slice(i + 1).map(([otherX, otherY]) => (otherY - y) / (otherX - x)),
  );
  return median(slopes);
}

export function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
