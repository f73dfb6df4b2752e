import { describe, expect, test } from '@jest/globals';
import { seededRandom } from '../sim/random.js';
import { formatHex, parseHex } from './corpus.js';
import { cut, INPUT_BYTES_MAX, mutate } from './mutate.js';
import { targets } from './targets/targets.js';

test('the same seed makes the same inputs, within their bound', () => {
  const corpus = [Buffer.from('GET /connect?clientId=17 HTTP/1.1\r\n\r\n')];
  const make = () => {
    const random = seededRandom(7);
    return Array.from({ length: 500 }, () => mutate(corpus, [Buffer.from('word')], random));
  };
  const inputs = make();
  expect(inputs).toEqual(make());
  expect(new Set(inputs.map((input) => input.toString('hex'))).size).toBeGreaterThan(400);
  expect(Math.max(...inputs.map(({ length }) => length))).toBeLessThanOrEqual(INPUT_BYTES_MAX);
});

test('pieces are the whole, wherever it was cut', () => {
  const random = seededRandom(7);
  for (const length of [0, 1, 2, 100, 300]) {
    const input = Buffer.from(Array.from({ length }, (_, i) => i & 0xff));
    for (let i = 0; i < 100; i++) expect(Buffer.concat(cut(input, random))).toEqual(input);
  }
});

test('a corpus file is read as it was written', () => {
  const input = Buffer.from(Array.from({ length: 100 }, (_, i) => i));
  expect(parseHex(formatHex(input, 'a comment # 00 with\nff'))).toEqual(input);
});

describe.each(targets)('$name', (target) => {
  test('holds for its own inputs, however they are cut', async () => {
    const random = seededRandom(7);
    for (const input of target.inputs) {
      for (let i = 0; i < 50; i++) await target.run(input, random);
    }
  });

  test('has inputs that lead to different things', async () => {
    const random = seededRandom(7);
    const outcomes = new Set<string>();
    for (let i = 0; i < 2_000 && outcomes.size < 2; i++) {
      outcomes.add(await target.run(mutate(target.inputs, target.words, random), random));
    }
    expect(outcomes.size).toBe(2);
  });
});
