/** The interface of a fuzz target, and helpers for several targets. */
import type { Rejection } from '../../../common/process/errors.js';
import type { Random } from '../mutate.js';

export interface Target {
  readonly name: string;
  /** Valid inputs to mutate, besides the corpus. */
  readonly inputs: readonly Buffer[];
  /** Tokens with a meaning to this parser, for the mutator. */
  readonly dictionary: readonly Buffer[];
  /**
   * Parses an input. Returns a short outcome; inputs with a new outcome are added to the corpus.
   * @throws Error if an invariant does not hold
   */
  run(input: Buffer, random: Random): string | Promise<string>;
}

/** One byte per character. */
export function bytesOf(...texts: string[]): Buffer[] {
  return texts.map((text) => Buffer.from(text, 'latin1'));
}

/** @throws Error with `message` if the two differ */
export function same<T>(actual: T, expected: T, message: string): void {
  if (actual !== expected) throw new Error(`${message}: ${actual} instead of ${expected}`);
}

/**
 * Calls a parser with all bytes received so far after each piece, until its result is not 'more'.
 * @returns that result, or 'more'
 */
export function readInPieces<T>(
  pieces: readonly Buffer[],
  read: (bytes: Buffer) => T | 'more',
): T | 'more' {
  let all: Buffer = Buffer.alloc(0);
  for (const piece of pieces) {
    all = Buffer.concat([all, piece]);
    const result = read(all);
    if (result !== 'more') return result;
  }
  return 'more';
}

/** Code and start of the message; the rest of the message repeats the input. */
export function outcomeOf({ code, message }: Rejection): string {
  return `${code} ${message.slice(0, 12)}`;
}
