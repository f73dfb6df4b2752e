/** What a fuzz target is, and what several of them need. */
import type { Rejection } from '../../../common/process/errors.js';
import type { Random } from '../mutate.js';

export interface Target {
  readonly name: string;
  /** Something for the mutator to begin with beside the corpus. */
  readonly inputs: readonly Buffer[];
  /** What means something to this parser. */
  readonly words: readonly Buffer[];
  /**
   * Reads an input. Returns in short what became of it: by that, something new is noticed.
   * @throws when something that must hold does not
   */
  run(input: Buffer, random: Random): string | Promise<string>;
}

/** One byte per character. */
export function bytesOf(...texts: string[]): Buffer[] {
  return texts.map((text) => Buffer.from(text, 'latin1'));
}

export function same<T>(actual: T, expected: T, why: string): void {
  if (actual !== expected) throw new Error(`${why}: ${actual} instead of ${expected}`);
}

/**
 * What a reader of all that has come says when it comes in these pieces: what it said first that was
 * not 'more'.
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

/** The beginning of a message says what is wrong; the rest repeats what came. */
export function outcomeOf({ code, message }: Rejection): string {
  return `${code} ${message.slice(0, 12)}`;
}
