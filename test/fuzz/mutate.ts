/**
 * Mutates valid inputs into nearly valid ones. Pure: the same random numbers give the same bytes.
 */

/** Maximum size of an input: above the limits of all parsers, so that these are tested. */
export const INPUT_BYTES_MAX = 64 * 1024;
const STEPS_MAX = 4;
const BYTE_BY_BYTE_MAX = 256;
/** Bytes at the limits of lengths, signs and character sets. */
const BOUNDARY_BYTES = [
  0x00, 0x01, 0x0a, 0x0d, 0x20, 0x7d, 0x7e, 0x7f, 0x80, 0xbf, 0xc0, 0xed, 0xf5, 0xff,
];

export type Random = () => number;

type Step = (input: Buffer, random: Random, other: Buffer, dictionary: readonly Buffer[]) => Buffer;

const steps: readonly Step[] = [
  /** Flips a bit. */
  (input, random) => {
    const changed = Buffer.from(input);
    const at = below(input.length, random);
    if (changed.length > 0) changed[at] = changed[at]! ^ (1 << below(8, random));
    return changed;
  },
  /** Replaces a byte with a boundary byte. */
  (input, random) => {
    const changed = Buffer.from(input);
    if (changed.length > 0) changed[below(input.length, random)] = pick(BOUNDARY_BYTES, random);
    return changed;
  },
  /** Inserts random bytes. */
  (input, random) => {
    const noise = Buffer.from(
      Array.from({ length: 1 + below(8, random) }, () => below(256, random)),
    );
    return insert(input, noise, random);
  },
  /** Inserts a token of the dictionary, or overwrites as many bytes with it. */
  (input, random, _, dictionary) => {
    if (dictionary.length === 0) return input;
    const token = pick(dictionary, random);
    if (random() < 0.5) return insert(input, token, random);
    const at = below(input.length + 1, random);
    return Buffer.concat([input.subarray(0, at), token, input.subarray(at + token.length)]);
  },
  /** Removes a part. */
  (input, random) => {
    const [from, to] = range(input, random);
    return Buffer.concat([input.subarray(0, from), input.subarray(to)]);
  },
  /** Truncates the input. */
  (input, random) => input.subarray(0, below(input.length + 1, random)),
  /** Repeats a part once, or very often, which finds quadratic time. */
  (input, random) => {
    const [from, to] = range(input, random);
    const part = input.subarray(from, to);
    const timesMax = Math.floor(INPUT_BYTES_MAX / Math.max(1, part.length));
    const times = random() < 0.9 ? 1 : below(timesMax + 1, random);
    const more = Buffer.alloc(times * part.length, part);
    return Buffer.concat([input.subarray(0, to), more, input.subarray(to)]);
  },
  /** Joins the start of the input and the end of another one. */
  (input, random, other) =>
    Buffer.concat([
      input.subarray(0, below(input.length + 1, random)),
      other.subarray(below(other.length + 1, random)),
    ]),
  /** Replaces a number with an extreme one. */
  (input, random) => {
    const digits = [...input.toString('latin1').matchAll(/\d+/g)];
    if (digits.length === 0) return input;
    const { index, 0: found } = pick(digits, random);
    const number = pick(['-1', '0', '00', '1e400', '4294967296', '9007199254740993'], random);
    return Buffer.concat([
      input.subarray(0, index),
      Buffer.from(number),
      input.subarray(index + found.length),
    ]);
  },
];

/**
 * Applies one to `STEPS_MAX` mutations to an input of the corpus.
 * @param corpus at least one input
 * @param dictionary tokens with a meaning to the parser
 */
export function mutate(
  corpus: readonly Buffer[],
  dictionary: readonly Buffer[],
  random: Random,
): Buffer {
  let input = pick(corpus, random);
  const other = pick(corpus, random);
  const count = 1 + below(STEPS_MAX, random);
  for (let i = 0; i < count; i++) {
    input = pick(steps, random)(input, random, other, dictionary).subarray(0, INPUT_BYTES_MAX);
  }
  return input;
}

/** Splits an input as a network may: not at all, into single bytes if it is short, or anywhere. */
export function split(input: Buffer, random: Random): Buffer[] {
  if (random() < 0.2 && input.length <= BYTE_BY_BYTE_MAX) {
    return [...input].map((byte) => Buffer.of(byte));
  }
  const cuts = Array.from({ length: below(6, random) }, () => below(input.length + 1, random));
  cuts.sort((a, b) => a - b);
  return [0, ...cuts].map((from, i) => input.subarray(from, cuts[i] ?? input.length));
}

export function below(bound: number, random: Random): number {
  return Math.floor(random() * bound);
}

export function pick<T>(all: readonly T[], random: Random): T {
  return all[below(all.length, random)]!;
}

function range(input: Buffer, random: Random): [from: number, to: number] {
  const from = below(input.length + 1, random);
  const lengthMax = random() < 0.8 ? 16 : input.length;
  return [from, Math.min(input.length, from + 1 + below(lengthMax, random))];
}

function insert(input: Buffer, bytes: Buffer, random: Random): Buffer {
  const at = below(input.length + 1, random);
  return Buffer.concat([input.subarray(0, at), bytes, input.subarray(at)]);
}
