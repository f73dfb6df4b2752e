/** Positions: the versions of an assignment, with their text form in URLs and PROXY headers. */

const POSITION = /^(\d{1,15})-(\d{1,15})$/;

/** Version of an assignment; compared by incarnation, then epoch. */
export interface Position {
  readonly incarnation: number;
  readonly epoch: number;
}

/** The position before the first assignment. */
export const ORIGIN: Position = { incarnation: 0, epoch: 0 };

/** Negative when `a` is older than `b`. */
export function comparePositions(a: Position, b: Position): number {
  return a.incarnation - b.incarnation || a.epoch - b.epoch;
}

/** Parses `<incarnation>-<epoch>`; undefined for other text. */
export function parsePosition(text: string): Position | undefined {
  const match = POSITION.exec(text);
  return match === null ? undefined : { incarnation: Number(match[1]), epoch: Number(match[2]) };
}

export function positionText({ incarnation, epoch }: Position): string {
  return `${incarnation}-${epoch}`;
}
