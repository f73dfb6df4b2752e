/**
 * Makes inputs out of inputs: valid ones with a few things wrong. Pure: the same randomness, the same
 * bytes.
 */

/** Above the bounds of all parsers, so that those are tested; the bytes of an input in flight. */
export const INPUT_BYTES_MAX = 64 * 1024;
const STEPS_MAX = 4;
const BYTE_BY_BYTE_MAX = 256;
/** Bytes at which lengths, signs and character sets change. */
const EDGES = [0x00, 0x01, 0x0a, 0x0d, 0x20, 0x7d, 0x7e, 0x7f, 0x80, 0xbf, 0xc0, 0xed, 0xf5, 0xff];

export type Random = () => number;

type Step = (input: Buffer, random: Random, other: Buffer, words: readonly Buffer[]) => Buffer;

const steps: readonly Step[] = [
  /** One bit is another. */
  (input, random) => {
    const changed = Buffer.from(input);
    const at = below(input.length, random);
    if (changed.length > 0) changed[at] = changed[at]! ^ (1 << below(8, random));
    return changed;
  },
  /** One byte is one at an edge. */
  (input, random) => {
    const changed = Buffer.from(input);
    if (changed.length > 0) changed[below(input.length, random)] = pick(EDGES, random);
    return changed;
  },
  /** Noise comes in between. */
  (input, random) => {
    const noise = Buffer.from(
      Array.from({ length: 1 + below(8, random) }, () => below(256, random)),
    );
    return insert(input, noise, random);
  },
  /** A word that means something comes in between, or takes the place of as many bytes. */
  (input, random, _, words) => {
    if (words.length === 0) return input;
    const word = pick(words, random);
    if (random() < 0.5) return insert(input, word, random);
    const at = below(input.length + 1, random);
    return Buffer.concat([input.subarray(0, at), word, input.subarray(at + word.length)]);
  },
  /** A part is gone. */
  (input, random) => {
    const [from, to] = range(input, random);
    return Buffer.concat([input.subarray(0, from), input.subarray(to)]);
  },
  /** The end is gone. */
  (input, random) => input.subarray(0, below(input.length + 1, random)),
  /** A part comes twice, or very often: what grows with the square of it is found so. */
  (input, random) => {
    const [from, to] = range(input, random);
    const part = input.subarray(from, to);
    const timesMax = Math.floor(INPUT_BYTES_MAX / Math.max(1, part.length));
    const times = random() < 0.9 ? 1 : below(timesMax + 1, random);
    const more = Buffer.alloc(times * part.length, part);
    return Buffer.concat([input.subarray(0, to), more, input.subarray(to)]);
  },
  /** It goes on as another one does. */
  (input, random, other) =>
    Buffer.concat([
      input.subarray(0, below(input.length + 1, random)),
      other.subarray(below(other.length + 1, random)),
    ]),
  /** A number in it is larger or smaller than any. */
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

/** @param corpus not empty */
export function mutate(
  corpus: readonly Buffer[],
  words: readonly Buffer[],
  random: Random,
): Buffer {
  let input = pick(corpus, random);
  const other = pick(corpus, random);
  const count = 1 + below(STEPS_MAX, random);
  for (let i = 0; i < count; i++) {
    input = pick(steps, random)(input, random, other, words).subarray(0, INPUT_BYTES_MAX);
  }
  return input;
}

/** The same bytes in pieces: whole, byte by byte if they are few, or cut anywhere. */
export function cut(input: Buffer, random: Random): Buffer[] {
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
