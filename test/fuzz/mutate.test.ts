import { describe, expect, test } from '@jest/globals';
import { seededRandom } from '../sim/random.js';
import { formatHex, parseHex } from './corpus.js';
import { INPUT_BYTES_MAX, mutate, split } from './mutate.js';
import { targets } from './targets/targets.js';

test('the same seed makes the same inputs, within the size limit', () => {
  const corpus = [Buffer.from('GET /connect?clientId=17 HTTP/1.1\r\n\r\n')];
  const make = () => {
    const random = seededRandom(7);
    return Array.from({ length: 500 }, () => mutate(corpus, [Buffer.from('token')], random));
  };
  const inputs = make();
  expect(inputs).toEqual(make());
  expect(new Set(inputs.map((input) => input.toString('hex'))).size).toBeGreaterThan(400);
  expect(Math.max(...inputs.map(({ length }) => length))).toBeLessThanOrEqual(INPUT_BYTES_MAX);
});

test('the pieces of a split concatenate to the input', () => {
  const random = seededRandom(7);
  for (const length of [0, 1, 2, 100, 300]) {
    const input = Buffer.from(Array.from({ length }, (_, i) => i & 0xff));
    for (let i = 0; i < 100; i++) expect(Buffer.concat(split(input, random))).toEqual(input);
  }
});

test('a corpus file round-trips', () => {
  const input = Buffer.from(Array.from({ length: 100 }, (_, i) => i));
  expect(parseHex(formatHex(input, 'a comment # 00 with\nff'))).toEqual(input);
});

describe.each(targets)('$name', (target) => {
  test('accepts its own inputs, however they are split', async () => {
    const random = seededRandom(7);
    for (const input of target.inputs) {
      for (let i = 0; i < 50; i++) await target.run(input, random);
    }
    // A target with handshakes computes for several seconds.
  });

  test('has inputs with different outcomes', async () => {
    const random = seededRandom(7);
    const outcomes = new Set<string>();
    for (let i = 0; i < 2_000 && outcomes.size < 2; i++) {
      outcomes.add(await target.run(mutate(target.inputs, target.dictionary, random), random));
    }
    expect(outcomes.size).toBe(2);
  });
});
